"""The server behind `mzsr serve`: an HTTP API, its jobs and its worker processes, and the page in `web/`."""
