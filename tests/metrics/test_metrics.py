"""PSNR and SSIM on the luminance agree with scikit-image to 1e-3 dB and 1e-4."""

import os
import pathlib
import subprocess

import numpy
import pytest
import skimage.color
import skimage.data
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

BENCHMARKS = pathlib.Path(os.environ["REBIT_SR_DATA"])


def ours(border, one, other):
    command = [os.environ["MEASURE_PAIR"], str(border), str(one), str(other)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(number) for number in said.split()]


def reference(border, one, other):
    planes = []
    for path in (one, other):
        luma = skimage.color.rgb2ycbcr(numpy.asarray(Image.open(path).convert("RGB")))[..., 0]
        planes.append(luma[border : luma.shape[0] - border, border : luma.shape[1] - border])
    psnr = peak_signal_noise_ratio(*planes, data_range=255)
    ssim = structural_similarity(
        *planes, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return psnr, ssim


def assert_equal(border, one, other):
    (psnr, ssim), (their_psnr, their_ssim) = ours(border, one, other), reference(border, one, other)
    assert psnr == pytest.approx(their_psnr, abs=1e-3)
    assert ssim == pytest.approx(their_ssim, abs=1e-4)


def enlarged(photo, scale):
    small = photo.resize((photo.width // scale, photo.height // scale), Image.BICUBIC)
    return small.resize(photo.size, Image.BICUBIC)


# Photographs that the package itself brings.
@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
@pytest.mark.parametrize("scale", [2, 4])
def test_photographs_of_scikit_image(tmp_path, name, scale):
    photo = Image.fromarray(getattr(skimage.data, name)())
    photo = photo.crop((0, 0, photo.width // scale * scale, photo.height // scale * scale))
    photo.save(tmp_path / "one.png")
    enlarged(photo, scale).save(tmp_path / "other.png")
    assert_equal(scale, tmp_path / "one.png", tmp_path / "other.png")


@pytest.mark.parametrize("name", ["Set5", "Set14"])
@pytest.mark.parametrize("scale", [2, 4])
def test_benchmarks(tmp_path, name, scale):
    files = sorted(BENCHMARKS.glob(f"{name}/image_SRF_{scale}/*_HR.png"))
    if not files:
        pytest.skip(f"{name} is not in {BENCHMARKS}")
    for path in files[:5]:
        enlarged(Image.open(path).convert("RGB"), scale).save(tmp_path / "other.png")
        assert_equal(scale, path, tmp_path / "other.png")
