"""The ROS 2 node, compiled against a stand-in for rclcpp that calls its timer and its subscriptions."""

import shutil
import xml.etree.ElementTree as xml

import numpy as np
import pytest
from c_tools import run

from koopctrl import LiftedModel, LinearMPC
from koopctrl.errors import OptionError
from koopctrl.export.ros2 import controller_to_ros2

A, B = np.array([[0.9, 0.3], [-0.2, 0.8]]), np.array([[0.2, 0.1], [0.5, 0.0]])

# What the node uses of ROS 2; one line on stdin is one sample: "m" values, "r" values, "d" values, "a"
# values, "." steps.
RCLCPP = r"""
#pragma once
#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>
#define RCLCPP_WARN(logger, ...) (std::fprintf(stderr, __VA_ARGS__), (void)(logger))
namespace std_msgs { namespace msg {
struct Float64MultiArray { using SharedPtr = std::shared_ptr<Float64MultiArray>; std::vector<double> data; };
struct Int32 { using SharedPtr = std::shared_ptr<Int32>; int data = 0; };
} }
namespace rclcpp {
using Heard = std::function<void(std_msgs::msg::Float64MultiArray::SharedPtr)>;
inline std::map<std::string, Heard> &topics() { static std::map<std::string, Heard> all; return all; }
inline std::function<void()> &tick() { static std::function<void()> f; return f; }
struct TimerBase { using SharedPtr = std::shared_ptr<TimerBase>; };
template <class T> struct Subscription { using SharedPtr = std::shared_ptr<Subscription<T>>; };
inline void say(const std_msgs::msg::Float64MultiArray &m) { for (double v : m.data) std::printf("%.17g ",
v); }
inline void say(const std_msgs::msg::Int32 &m) { std::printf("%d\n", m.data); }
template <class T> struct Publisher {
    using SharedPtr = std::shared_ptr<Publisher<T>>;
    void publish(const T &m) { say(m); }
};
struct Node {
    explicit Node(const char *) {}
    int get_logger() const { return 0; }
    template <class T> typename Publisher<T>::SharedPtr create_publisher(const char *, int) {
        return std::make_shared<Publisher<T>>();
    }
    template <class T, class F> typename Subscription<T>::SharedPtr create_subscription(const char *topic,
    int, F f) {
        topics()[topic] = f;
        return std::make_shared<Subscription<T>>();
    }
    template <class D, class F> TimerBase::SharedPtr create_wall_timer(D period, F f) {
        std::printf("%lld\n", static_cast<long long>(std::chrono::nanoseconds(period).count()));
        tick() = f;
        return std::make_shared<TimerBase>();
    }
};
inline void init(int, char **) {}
inline void shutdown() {}
inline void spin(std::shared_ptr<Node>) {
    std::string line;
    static const std::map<char, std::string> names = {
        {'m', "~/measurement"}, {'r', "~/reference"}, {'d', "~/disturbance"}, {'a', "~/applied"}};
    while (std::getline(std::cin, line)) {
        if (line[0] == '.') { tick()(); continue; }
        auto message = std::make_shared<std_msgs::msg::Float64MultiArray>();
        std::istringstream words(line.substr(1));
        for (std::string w; words >> w;) message->data.push_back(std::stod(w));
        topics().at(names.at(line[0]))(message);
    }
}
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not on the PATH")
@pytest.mark.parametrize("scalar", ["double", "float"])
def test_the_node_does_what_the_controller_does(scalar, tmp_path):
    plant = LiftedModel.from_matrices(A, B, dt=0.05)
    mpc = LinearMPC(plant, 8, 1.0, 0.1, u_min=-0.7, u_max=0.7, measured_disturbances=[1])
    made = controller_to_ros2(mpc, tmp_path, "level_mpc", scalar=scalar)
    assert {str(f.relative_to(made.folder)) for f in made.folder.rglob("*.*")} == set(made.files)
    assert xml.parse(made.folder / "package.xml").getroot().findtext("name") == "level_mpc"
    stubs = tmp_path / "stubs"
    for file in ("rclcpp/rclcpp.hpp", "std_msgs/msg/float64_multi_array.hpp", "std_msgs/msg/int32.hpp"):
        (stubs / file).parent.mkdir(parents=True, exist_ok=True)
        (stubs / file).write_text(RCLCPP if "rclcpp" in file else "#pragma once\n")
    source = made.folder / "src"
    run("gcc", "-std=c99", "-O2", "-c", source / "level_mpc.c", "-o", tmp_path / "level_mpc.o")
    run("g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-I", stubs, "-I", source,
        source / "level_mpc_node.cpp", tmp_path / "level_mpc.o", "-o", tmp_path / "node")  # fmt: skip
    rng, lines, expected, x = np.random.default_rng(0), [], [], np.array([0.5, -0.2])
    reference, told, age, seen = None, None, 9, None
    for k in range(60):
        if k % 7 != 3:
            seen, age = x + 0.01 * rng.normal(size=2), 0
            lines.append("m " + " ".join(map(repr, seen.tolist())))
        if k in (5, 30):
            reference = 0.3 * rng.normal(size=2)
            lines.append("r " + " ".join(map(repr, reference.tolist())))
        if k in (12, 40):
            told = 0.2 * rng.normal(size=1)
            lines.append(f"d {float(told[0])!r}")
        if k == 20:
            lines.append("m 1.0")  # of another size: a warning, and no measurement
        lines.append(".")
        u = mpc.control(seen if age < 2 else [np.nan] * 2, reference, disturbance=told)
        age += 1
        expected.append(u)
        x = A @ x + B @ np.append(u, 0.0 if told is None else told)
    done = run(tmp_path / "node", input="\n".join(lines) + "\n")
    first, *rest = done.stdout.splitlines()
    assert int(first) == 50_000_000
    found = np.array([[float(w) for w in line.split()] for line in rest])
    np.testing.assert_allclose(found[:, :1], expected, atol=1e-9 if scalar == "double" else 1e-5)
    assert "expected 2" in done.stderr


def test_what_cannot_be_is_named(tmp_path):
    mpc = LinearMPC(LiftedModel.from_matrices(A, B, dt=0.05), 3, 1.0, 0.1)
    for name in ("Level", "a__b", "x", 3):
        with pytest.raises(OptionError, match="name is"):
            controller_to_ros2(mpc, tmp_path, name)
    with pytest.raises(OptionError, match="folder is"):
        controller_to_ros2(mpc, None)
