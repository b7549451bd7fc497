"""Pictures drawn elsewhere: a ComfyUI workflow, run by a RunPod serverless endpoint
(docs/remote.md).
"""
