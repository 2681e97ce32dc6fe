import pytest

from kernels import Kernel


@pytest.fixture(scope="module")
def kernel():
    """One kernel for the tests of a file."""
    kernel = Kernel()
    yield kernel
    kernel.close()


@pytest.fixture
def fresh():
    """Kernels of a test's own; call it for each."""
    kernels = []

    def start(**options):
        kernels.append(Kernel(**options))
        return kernels[-1]

    yield start
    for kernel in kernels:
        kernel.close()
