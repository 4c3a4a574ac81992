"""Executes a notebook, whose cells must not fail: run-notebook.py notebooks/tour.ipynb"""

from __future__ import annotations

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("notebook", type=Path)
parser.add_argument("--write", action="store_true", help="store the outputs in the notebook")
a = parser.parse_args()
notebook = nbformat.read(a.notebook, as_version=4)
place = {"metadata": {"path": a.notebook.parent}}
NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
if a.write:
    for cell in notebook.cells:
        # The times of a run would change the file each time.
        cell.metadata.pop("execution", None)
    nbformat.write(notebook, a.notebook)
print(f"{a.notebook}: {len(notebook.cells)} cells ran")
