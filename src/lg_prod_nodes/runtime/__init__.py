"""The only package that touches LangGraph and LangChain internals."""
