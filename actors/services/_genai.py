"""Names of the attributes that spans carry, in one place.

They are those of OpenTelemetry's semantic conventions for generative AI, which are still in
development and may be renamed. There is none for cost, so that one is ours.
"""

from __future__ import annotations

__all__ = [
    "AGENT_NAME",
    "COST_USD",
    "INPUT_TOKENS",
    "OPERATION_NAME",
    "OUTPUT_TOKENS",
    "PROVIDER_NAME",
    "REQUEST_MAX_TOKENS",
    "REQUEST_MODEL",
    "RESPONSE_FINISH_REASONS",
    "RESPONSE_MODEL",
    "TOOL_NAME",
]

OPERATION_NAME = "gen_ai.operation.name"
"""invoke_workflow, invoke_agent, chat or execute_tool."""

PROVIDER_NAME = "gen_ai.provider.name"
AGENT_NAME = "gen_ai.agent.name"
TOOL_NAME = "gen_ai.tool.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"

COST_USD = "callboard.cost_usd"
"""USD (int, float, Decimal or str); absent or None where the price is unknown."""
