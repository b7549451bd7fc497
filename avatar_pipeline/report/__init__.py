"""`avatar-pipeline report`: what was made of each actor, as pages for a browser that ask the
network for nothing.
"""
