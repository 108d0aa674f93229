"""The actors that work: agents, and the language models behind them.

Lowest first; a file imports only from rows above its own:

| files | hold | may import |
|---|---|---|
| `_types`, `_gguf`, `_split` | messages, replies, estimates; file facts; splitting | `_errors` |
| `pricing` | USD of a call | `_types` |
| `_generation`, then `_engine` | one call of llama.cpp; a loaded model and its threads | `_types` |
| `_local`, `_openai` | a model in this process; a model behind HTTP | the above |
| `models` | `resolve_model`, and the names users need | all of these, lazily |

None of these knows an actor: a model is a plain object that any coroutine may call. Nothing here
imports the facade.
"""
