"""Quadrature and boundaries of the domains against closed forms and the divergence theorem."""

import numpy as np
import pytest

from koopctrl.errors import DataError, KoopctrlError, OptionError, ShapeError
from koopctrl.sampled.pde import Ball, Box, Interval, PointCloud, Polygon

RNG = np.random.default_rng


def circle(centre, radius, n=24):
    angle = 2 * np.pi * np.arange(n) / n
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1)


HOLED = Polygon(
    [[0, 0], [2, 0], [2, 1], [1, 1.5], [0, 1]], [circle((0.5, 0.5), 0.2), circle((1.4, 0.6), 0.25, 7)[::-1]]
)
DOMAINS = {
    "interval": Interval(-1.0, 2.0),
    "graded interval": Interval(-1.0, 2.0, edges=np.array([-1.0, 0.5, 0.6, 0.65, 2.0])),
    "square": Box([0.0, 1.0], [2.0, 1.5]),
    "cube": Box([0.0, 1.0, -1.0], [2.0, 1.5, 1.0]),
    "disc": Ball([1.0, -1.0], 0.7),
    "polygon with holes": HOLED,
}


@pytest.mark.parametrize("name", DOMAINS)
def test_the_divergence_theorem_holds_to_many_digits(name):
    """Int div F = int F . n, with F smooth: interior and boundary rules, and normals, belong together."""
    domain = DOMAINS[name]
    q, b = domain.quadrature(2000, RNG(0)), domain.on("all", 400, RNG(0))
    assert q.precise

    def field(x):
        return np.stack(
            [np.exp(0.5 * x[:, 0]) * np.cos(x.sum(axis=1) + i) for i in range(domain.dim)], axis=1
        )

    e = np.exp(0.5 * q.points[:, 0])
    total = q.points.sum(axis=1)
    divergence = sum(-e * np.sin(total + i) for i in range(domain.dim)) + 0.5 * e * np.cos(total)
    through = np.sum(field(b.points) * b.normals, axis=1)
    scale = np.abs(b.weights @ np.abs(through))
    assert q.weights @ divergence == pytest.approx(b.weights @ through, abs=1e-8 * scale)
    np.testing.assert_allclose(np.linalg.norm(b.normals, axis=1), 1.0)
    assert (q.weights > 0).all()


def test_periodic_points_do_not_repeat_the_end():
    q = Interval(0.0, 2.0, periodic=True).quadrature(50, RNG(0))
    assert q.points.max() < 2.0 - 0.03
    assert q.weights.sum() == pytest.approx(2.0)
    assert Interval(0.0, 2.0, periodic=True).parts == ()


def test_measure_of_balls_and_boxes_in_many_dimensions():
    ball = Ball(np.zeros(5), 1.5)
    assert ball.quadrature(100, RNG(0)).weights.sum() == pytest.approx(8 * np.pi**2 / 15 * 1.5**5)
    b = ball.on("all", 50, RNG(0))
    assert b.weights.sum() == pytest.approx(8 * np.pi**2 / 3 * 1.5**4)
    np.testing.assert_allclose(np.linalg.norm(b.points, axis=1), 1.5)
    box = Box(np.zeros(7), 2 * np.ones(7))
    assert box.quadrature(100, RNG(0)).weights.sum() == pytest.approx(2.0**7)
    assert len(box.parts) == 14
    assert box.axis_names[6] == "x6"


def test_points_of_a_polygon_are_inside_and_its_area_is_right():
    q = HOLED.quadrature(3000, RNG(0))
    assert HOLED.contains(q.points).all()
    holes = 0.5 * 24 * 0.2**2 * np.sin(2 * np.pi / 24) + 0.5 * 7 * 0.25**2 * np.sin(2 * np.pi / 7)
    assert q.weights.sum() == pytest.approx(2.5 - holes, rel=1e-12)
    assert HOLED.parts == ("outer", "hole0", "hole1")


def test_a_point_cloud_hands_out_what_it_was_given():
    points = RNG(0).uniform(size=(50, 2))
    cloud = PointCloud(points, parts={"rim": ([[0, 0], [1, 1]], [[-2, 0], [0, 3]], None)})
    q = cloud.quadrature(7, RNG(0))
    np.testing.assert_array_equal(q.points, points)
    assert not q.precise
    np.testing.assert_allclose(cloud.boundary("rim", 9, RNG(0)).normals, [[-1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: Interval(1.0, 1.0), OptionError, "high"),
        (lambda: Interval(0.0, np.nan), KoopctrlError, "high"),
        (lambda: Interval(0.0, 1.0, edges=np.array([0.0, 0.7, 0.5, 1.0])), OptionError, "edges"),
        (lambda: Box([0, 0], [1, 1, 1]), ShapeError, "corners"),
        (lambda: Box([0, 0], [1, 1], periodic=[True]), ShapeError, "periodic"),
        (lambda: Ball([0.0]), ShapeError, "centre"),
        (lambda: Ball([0.0, 0.0], -1.0), OptionError, "radius"),
        (lambda: Polygon([[0, 0], [1, 0]]), DataError, "three vertices"),
        (lambda: Polygon([[0, 0], [1, 0], [2, 0]]), DataError, "area"),
        (lambda: Polygon([[0, 0], [1, 0], [1, 0], [0, 1]]), DataError, "repeats"),
        (lambda: Polygon([[0, 0], [1, 0], [0, 1]], [circle((0, 0), 3.0)]), DataError, "holes"),
        (lambda: Polygon([[0, 0], [2, 2], [2, 0], [0, 1]]).quadrature(100, RNG(0)), DataError, "cross"),
        (lambda: PointCloud(np.zeros((3, 2))), DataError, "at least 4"),
        (lambda: PointCloud(np.eye(4), weights=[1, 1, 1, -1]), DataError, "positive"),
        (lambda: Interval(0, 1).on("top", 3, RNG(0)), OptionError, "'left', 'right', 'all'"),
        (lambda: Interval(0, 1, periodic=True).on("left", 3, RNG(0)), OptionError, "periodic"),
    ],
)
def test_bad_domains_are_refused(make, kind, words):
    with pytest.raises(kind, match=words):
        make()
