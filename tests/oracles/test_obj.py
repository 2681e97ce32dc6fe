"""A person that we export is to trimesh what it is to us: surface, texture and which hand is the left one."""

import json
import os
import pathlib
import subprocess

import numpy
import pytest
import trimesh

FOLDER = pathlib.Path(os.environ["ORACLE_FOLDER"])
RED = [255, 0, 0]


@pytest.fixture(scope="module")
def told():
    subprocess.run([os.environ["ORACLE_OBJ"], FOLDER], check=True)
    return json.loads((FOLDER / "person.json").read_text())


@pytest.fixture(scope="module")
def mesh(told):
    """As it lies in the file: a vertex for each place in the texture."""
    return trimesh.load_mesh(told["obj"], process=False, maintain_order=True)


@pytest.fixture(scope="module")
def surface(mesh):
    """Without the seams of the texture."""
    whole = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    whole.merge_vertices(merge_tex=True, merge_norm=True)
    return whole


def rows(values, digits=5):
    return {tuple(row) for row in numpy.round(numpy.asarray(values), digits) + 0.0}


def test_vertices_and_faces_are_ours(told, mesh, surface):
    assert len(mesh.faces) == told["triangles"]
    assert len(surface.vertices) == told["vertices"]
    found = numpy.array(sorted(map(tuple, surface.vertices)))
    wanted = numpy.array(sorted(map(tuple, told["positions"])))
    assert numpy.abs(numpy.sort(found, 0) - numpy.sort(wanted, 0)).max() < 1e-5
    assert abs(numpy.ptp(mesh.vertices[:, 1]) - told["stature"]) < 0.03


def test_every_corner_has_our_place_in_the_texture(told, mesh):
    # Ours run down from the top, those of the format up from the bottom.
    wanted = numpy.array(told["uv"]) * [1.0, -1.0] + [0.0, 1.0]
    assert rows(mesh.visual.uv, 4) <= rows(wanted, 4)


def test_the_texture_is_ours_pixel_by_pixel(told, mesh):
    image = numpy.asarray(mesh.visual.material.image.convert("RGB"))
    assert image.shape == (told["side"], told["side"], 3)
    assert image.reshape(-1).tolist() == told["rgb"]


def test_a_red_left_glove_stays_left(mesh):
    """The person looks along +z with y up, so its left hand is at +x; trimesh looks the colours up."""
    colours = mesh.visual.material.to_color(mesh.visual.uv)[:, :3]
    red = (colours == RED).all(1)
    assert red.sum() > 50
    assert mesh.vertices[red][:, 0].min() > 0.1
    assert mesh.vertices[red][:, 1].max() < 1.1


def test_faces_look_outwards(surface):
    assert surface.is_watertight and surface.is_winding_consistent
    # Cubic metres of a person.
    assert 0.04 < surface.volume < 0.12
