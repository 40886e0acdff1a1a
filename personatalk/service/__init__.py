"""The service: jobs over HTTP, and a page in the browser; needs `personatalk[serve]`."""
