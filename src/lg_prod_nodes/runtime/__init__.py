"""Where we meet LangGraph and LangChain."""
