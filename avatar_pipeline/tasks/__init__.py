"""Tasks: what people ask for one at a time, beside the assets of an actor. Plain Python; the HTTP
service and Dagster run them.
"""
