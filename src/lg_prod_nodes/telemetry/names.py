"""Names of calls and errors in OpenTelemetry's semantic conventions."""

from __future__ import annotations

from lg_prod_nodes.core.call import Call, Unrecoverable
from lg_prod_nodes.core.report import Event


def operation(call: Call) -> str:
    """Return the operation of a model call: `"chat"` for messages, `"text_completion"` for texts."""
    asks_by_text = isinstance(call.input, list) and all(isinstance(t, str) for t in call.input)
    return "text_completion" if call.input and asks_by_text else "chat"


def error_type(error: BaseException) -> str:
    """Return the full name of an error's class."""
    if isinstance(error, Unrecoverable):
        error = error.error
    cls = type(error)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


_PROVIDERS = {
    "amazon_bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}


def provider_of(event: Event) -> dict[str, str]:
    """Return the attribute for the provider of an event's model, empty if LangChain does not name it."""
    named = event.data.get("provider")
    return {"gen_ai.provider.name": _PROVIDERS.get(named, named)} if isinstance(named, str) else {}
