"""Checks that notebooks are valid nbformat 4.5 and were run to the end without an error."""

import pathlib
import sys

import nbformat

bad = 0
for folder in sys.argv[1:]:
    for path in sorted(pathlib.Path(folder).glob("*.ipynb")):
        book = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        nbformat.validate(book)
        code = [cell for cell in book.cells if cell.cell_type == "code"]
        errors = sum(output.output_type == "error" for cell in code for output in cell.outputs)
        unrun = sum(cell.execution_count is None for cell in code)
        version = (book.nbformat, book.nbformat_minor)
        print(f"{path}: nbformat {version[0]}.{version[1]}, {len(code)} code cells, {errors} errors, {unrun} not run")
        bad += errors + unrun + (version < (4, 5))
sys.exit(1 if bad else 0)
