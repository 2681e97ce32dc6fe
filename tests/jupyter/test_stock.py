"""Our library is an ordinary crate: it shows its figures in the stock kernel, too."""

import os
import sys

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
sys.path.append(os.path.join(ROOT, "tests/peers/latency"))

from kernel import Kernel, stock_environment  # noqa: E402

STOCK = os.environ.get("STOCK", os.path.join(os.path.dirname(os.environ.get("REBIT", "")), "stock"))


@pytest.fixture
def stock(tmp_path):
    if not os.access(STOCK, os.X_OK):
        pytest.skip(f"{STOCK} has not been built (cargo build --release --workspace --bins)")
    kernel = Kernel([STOCK, "--control_file", "{connection_file}"], stock_environment(str(tmp_path)))
    yield kernel
    kernel.close()


def test_the_library_is_loaded_by_the_stock_kernel_and_shows_a_figure(stock):
    # Quickly compiled: what is tested is that it fits.
    stock.run(f':opt 0\n:dep rebit = {{ path = "{ROOT}/lib" }}\nuse rebit::prelude::*;')
    request = stock.client.execute(
        'plot::lines("A line").x("x").y("y").series("s", &[0.0f32, 1.0], &[1.0f32, 2.0]).figure()'
    )
    assert stock.reply(request)["status"] == "ok"
    (result,) = [content["data"] for content in stock.said(request) if "data" in content]
    assert result["image/svg+xml"].startswith("<svg") and "A line" in result["image/svg+xml"]
    assert "4096" in stock_text(stock, 'println!("{}", read(&randn(64, 64, &mut rng(0))).len());')


def stock_text(stock, code):
    request = stock.client.execute(code)
    assert stock.reply(request)["status"] == "ok"
    return stock.output(request)
