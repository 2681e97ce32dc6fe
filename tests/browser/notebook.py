"""Makes the notebook that the browser test opens: notebook 01 without outputs, up to its first training.

    notebook.py SOURCE TARGET [--whole]
"""

import sys

import nbformat

source, target, *options = sys.argv[1:]
book = nbformat.read(source, as_version=4)
code = [cell for cell in book.cells if cell.cell_type == "code"]
trainings = [cell for cell in code if "train_with(&base" in cell.source]
if "--whole" not in options:
    # With the cell behind it, which draws what the training has found.
    last = code[code.index(trainings[0]) + 1]
    book.cells = book.cells[: book.cells.index(last) + 1]
for cell in book.cells:
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
book.metadata["kernelspec"] = {"name": "rebit", "display_name": "Rust (rebit)", "language": "rust"}
# For the test's own cells, which it fills in.
trainings[0].metadata["tags"] = ["training"]
nbformat.write(book, target)
