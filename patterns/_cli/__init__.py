"""The command `callboard`: what it reads, the team it runs, what it shows and leaves behind.

A module imports from rows above its own, and of `actors` only the public facade:

| files | hold |
|---|---|
| `inputs`, `checking`, `kept`, `output` | what is read; checks of text; answers kept; printing |
| `folder`, `tree` | the files of a run; who did what, from spans |
| `reading`, `sorting` | long inputs page by page; which desk a request belongs to |
| `view`, `stopping` | the live picture; signals |
| `newsroom`, `outcome` | the team; what came of a run |
| `show`, `report` | the records of a run, printed; its final report |
| `work` | one run from start to end |
| `app` | options, help, exit codes |

`patterns.cli` is the entry; it imports `app` only when typer and rich are there.
"""
