"""The management API below /api/v1: FastAPI, driven by our own server, imported when it is first called.

bridge        our Request → ASGI → our Response
application   the FastAPI application: its routes and how errors look
people, repositories, rules   the routes, by noun
problems      RFC 9457
asked         what routes are handed: the desk, who is asking, the bodies
"""
