"""What is said of a constructor's exception. The faults are made here, or are mmdet's own."""

from types import SimpleNamespace

import pytest
import tiny

from freekd import compat

compat.apply()

from freekd.checks import FeatureError
from freekd.config import explain
from freekd.config.errors import ConfigError
from freekd.config.explain import explained
from freekd.engine.first_step import first_step
from freekd.zoo.stock import read_model


def said(function):
    with pytest.raises(ConfigError) as error, explain.building("KEY"):
        function()
    return str(error.value)


def bare_assert():
    count = 3
    assert count == 4  # the source of this line is what helps


def own_words():
    raise ValueError("depth must be 18, got 3")


def no_words():
    raise ValueError


def divide():
    return 1 / (3 - 3)


def missing_key():
    return {"a": 1}["b"]


@pytest.mark.parametrize(
    "fault, words",
    [
        (bare_assert, ["KEY (AssertionError)", __file__, "assert count == 4", "line "]),
        (no_words, ["KEY (ValueError)", "raise ValueError"]),
        (divide, ["ZeroDivisionError", "return 1 / (3 - 3)"]),
        (missing_key, ["KEY (KeyError): b (at", 'return {"a": 1}["b"]']),
    ],
)
def test_errors_that_say_little_get_their_place(fault, words):
    assert all(word in said(fault) for word in words), said(fault)


def test_errors_that_say_enough_stay_as_they_are():
    assert said(own_words) == "KEY (ValueError): depth must be 18, got 3"
    with pytest.raises(ConfigError, match="^as it is$"), explain.building("KEY"):
        raise ConfigError("as it is")


def build(change):
    model = tiny.detector()
    change(model)
    return said(lambda: tiny.build(model))


def test_an_assert_of_mmdet_is_named_with_what_was_built():
    text = build(lambda model: model["neck"].update(num_outs=1))
    assert text.startswith("KEY (AssertionError): RetinaNet: FPN (at ")
    assert "necks/fpn.py, line " in text and "assert num_outs >= self.num_ins - start_level" in text


@pytest.mark.parametrize(
    "part, name, near",
    [
        ("backbone", "ResNt", "ResNet"),
        ("neck", "FPNN", "FPN"),
        ("bbox_head", "mmdet.RetinaHed", "RetinaHead"),
    ],
)
def test_an_unknown_type_gets_the_nearest(part, name, near):
    text = build(lambda model: model[part].update(type=name))
    assert "RetinaNet: " in text and name in text and "\\" not in text
    assert near in text.split("Nearest: ")[1] and "custom_imports" in text


def test_an_unknown_argument():
    text = build(lambda model: model["neck"].update(widht=1))
    assert text.startswith("KEY (TypeError): RetinaNet: FPN: ")  # FPN.__init__() on Python 3.10
    assert text.endswith("__init__() got an unexpected keyword argument 'widht'")


def test_an_error_inside_another_is_not_taken_for_it():
    try:
        try:
            missing_key()
        except KeyError:
            raise RuntimeError("what counts") from None
    except RuntimeError as error:
        assert explained(error) == "what counts"


# --------------------------------------------------------------------------- the first step
def test_the_first_step_alone_is_a_matter_of_the_config():
    runner = SimpleNamespace(iter=7)
    told = r"first training step.*AssertionError.*count == 4"
    with pytest.raises(ConfigError, match=told), first_step(runner):
        bare_assert()
    with pytest.raises(AssertionError), first_step(runner):
        runner.iter += 1
        bare_assert()


@pytest.mark.parametrize(
    "error",
    [
        FeatureError("levels"),
        FloatingPointError("nan"),
        FileNotFoundError("a.jpg"),
        RuntimeError("Connection closed by peer"),
        RuntimeError("Expected to have finished reduction in the prior iteration"),
        KeyboardInterrupt(),
    ],
)
def test_what_has_words_of_its_own_stays(error):
    with pytest.raises(type(error)) as caught, first_step(SimpleNamespace(iter=0)):
        raise error
    assert caught.value is error


def test_a_remedy_that_was_added_on_the_way_stays():
    """mmcv's builder puts a name in front; our own readers put what to do behind."""
    from freekd.config.explain import explained

    try:
        try:
            raise FileNotFoundError("no file x.pth.")
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error} Make it by: python tools/train.py") from error
    except FileNotFoundError as error:
        assert explained(error) == "no file x.pth. Make it by: python tools/train.py"
        try:
            try:
                raise error
            except FileNotFoundError as inner:
                raise FileNotFoundError(f"FreeKDLoss: {inner}") from None
        except FileNotFoundError as outer:
            text = explained(outer)
    assert text == "FreeKDLoss: no file x.pth. Make it by: python tools/train.py"


def test_a_name_with_a_colon_is_no_class_that_was_built():
    """pair.teacher='mmdet::...' once came twice, the first time cut at its colon."""
    with pytest.raises(ConfigError) as error, explain.building("pair.teacher"):
        read_model("mmdet::retinanet/retinanet_r10_fpn_2x_coco.py", "pair.teacher")
    text = str(error.value)
    assert text.startswith("pair.teacher (StockConfigError): pair.teacher='mmdet::retinanet/")
    assert text.count("retinanet_r10_fpn") == 1
