"""Our HTTP/1.1 server: uvicorn's protocol, stepped on the connection, zero-copy on the bulk paths."""
