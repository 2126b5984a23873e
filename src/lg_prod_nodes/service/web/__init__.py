"""Serve runs over HTTP, from Starlette or FastAPI: errors as problem details, streams as server-sent events."""

from lg_prod_nodes.service.web.headers import rate_limit_headers
from lg_prod_nodes.service.web.problems import Problem, problem_handlers, problem_of
from lg_prod_nodes.service.web.streams import RunStreams

__all__ = ["Problem", "RunStreams", "problem_handlers", "problem_of", "rate_limit_headers"]
