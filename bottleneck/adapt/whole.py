"""A backbone and a head as one Keras model: uint8 pixels in, probabilities out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bottleneck import __version__
from bottleneck.backbones.keras_scope import isolated
from bottleneck.backbones.network import Preprocess
from bottleneck.errors import BackboneError, HeadError
from bottleneck.extraction.run import rebuild_network
from bottleneck.heads.dense import Answer, DenseForm, NetworkForm, head_form
from bottleneck.images import PILLOW, Geometry
from bottleneck.runtimes.outputs import keras_tensors, taken
from bottleneck.runtimes.precision import mixed

if TYPE_CHECKING:
    from bottleneck.heads.head import Head

BACKBONE: Final = "backbone"
"""Name of the layer that is the backbone; its layers have their own names inside."""

TOP: Final = "top"
"""Name of the layer that is pooling and head."""

LAST: Final = "head"
"""Name of the last dense layer."""

VERSION: Final = 1
"""Of :meth:`Whole.about`; raised by one whenever a reader would take it wrong."""


@dataclass(frozen=True, eq=False)
class Whole:
    """One model of pixels, and what has to be known to use it.

    Parameters
    ----------
    model : keras.Model
        From uint8 images (n, height, width, 3) to probabilities (n, classes); scores of heads
        that have none.
    geometry : Geometry
        How images become its input.
    about : dict
        JSON values that go with the model wherever it goes: ``classes``, ``task``, ``answer``
        (what the output is), ``image`` (the resize rule), ``recipe``, ``output``.
    form : DenseForm or NetworkForm
        The head's layers as they were put in.
    preprocess : Preprocess
        What is done to pixels before the backbone.
    features : KerasTensor
        Inside :attr:`top`: what the head takes.
    """

    model: Any
    geometry: Geometry
    about: dict[str, Any]
    form: DenseForm | NetworkForm
    preprocess: Preprocess
    features: Any

    @property
    def backbone(self) -> Any:
        """The backbone inside: from preprocessed images to what is pooled."""
        return self.model.get_layer(BACKBONE)

    @property
    def top(self) -> Any:
        """Pooling and head: from what the backbone gives to the answer."""
        return self.model.get_layer(TOP)


def whole_model(
    head: "Head",
    *,
    owner: str,
    weights: str | None = None,
    backend: str = "tensorflow",
    dropout: float = 0.0,
    precision: str = "float32",
) -> Whole:
    """Put a head behind its backbone; the weights of both are theirs.

    Parameters
    ----------
    head : Head
        A head of dense layers, or a stack.
    owner : str
        What it is called, for messages.
    weights : str, optional
        Where the backbone's weights are now, if not where the recipe found them.
    backend : str
        What Keras computes with.
    dropout : float
        Share of the features that a training step leaves out; a stack says itself what is.
    precision : {"float32", "bfloat16"}
        What dense convolutions and products of the backbone compute in.

    Raises
    ------
    HeadError
        For a head of another form.
    BackboneError
        For a backbone that is no Keras model.
    RecipeMismatchError
        When this installation would compute other features.
    """
    form = head_form(head)
    network, outputs, geometry = rebuild_network(
        head.recipe, owner=owner, weights=weights, backend=backend
    )
    if network.form != "keras":
        raise BackboneError(
            f"expected a backbone that is a Keras model, got {head.recipe.backbone}, which is of"
            f" the form {network.form}",
            hint="Those of `bottleneck backbones` and .keras files are.",
        )
    if not isinstance(geometry, Geometry):
        raise BackboneError(
            f"expected a backbone that takes images, got {head.recipe.backbone}, which takes "
            f"{geometry.item}s",
        )
    if geometry.decoder != PILLOW:
        raise HeadError(
            f"expected features of images that Pillow has decoded, as models that are deployed or "
            f"fine-tuned get them; {owner} is of {geometry.decoder}",
            hint=f"Extract anew with --decoder {PILLOW}.",
        )
    take = taken(network, outputs, "keras")
    with isolated(backend) as keras:
        images = keras.Input(geometry.shape, dtype="uint8", name="images")
        body = keras.Model(network.model.input, keras_tensors(network, take)[0], name=BACKBONE)
        if precision != "float32":
            body = mixed(keras, body, precision)
        found = keras.Input(body.output.shape[1:], name="found")
        features = take.pooled(keras.ops, found)[0]
        x = features
        if dropout and isinstance(form, DenseForm):
            x = keras.layers.Dropout(dropout, name="dropout")(x)
        top = keras.Model(found, _answered(keras, x, form), name=TOP)
        answers = top(body(prepared(keras, images, network.spec.preprocess)))
        model = keras.Model(images, answers, name=head.recipe.backbone.replace(":", "_"))
    about = _about(head, form, geometry)
    return Whole(model, geometry, about, form, network.spec.preprocess, features)


def prepared(keras: Any, images: Any, preprocess: Preprocess) -> Any:
    """Write :func:`bottleneck.runtimes.outputs.preprocessed` in layers, which a file can hold."""
    x = keras.ops.cast(images, "float32")
    if preprocess.channels == "bgr":
        x = keras.ops.take(x, [2, 1, 0], axis=-1)
    scale, offset = list(preprocess.scale), list(preprocess.offset)
    if scale != [1.0] * 3 or offset != [0.0] * 3:
        x = keras.layers.Rescaling(scale, offset, name="preprocess")(x)
    return x


def put_head(whole: Whole, head: "Head") -> None:
    """Give the layers of a head inside a model the weights of another head of the same kind."""
    form = head_form(head)
    if isinstance(form, NetworkForm):
        for name, own in form.named_weights().items():
            whole.top.get_layer(name).set_weights(own)
        return
    *hidden, (coef, intercept) = form.layers
    for number, (weights, bias) in enumerate(hidden):
        whole.top.get_layer(f"hidden_{number}").set_weights([weights, bias])
    whole.top.get_layer(LAST).set_weights([coef * form.factor, intercept * form.factor])


def _answered(keras: Any, features: Any, form: DenseForm | NetworkForm) -> Any:
    if isinstance(form, NetworkForm):
        return _read(keras, form.applied(keras, features), form.answer)
    *hidden, (coef, intercept) = form.layers
    x = features
    for number, (weights, bias) in enumerate(hidden):
        layer = keras.layers.Dense(len(bias), activation="relu", name=f"hidden_{number}")
        x = layer(x)
        layer.set_weights([weights, bias])
    last = keras.layers.Dense(len(intercept), name=LAST)
    x = last(x)
    last.set_weights([coef * form.factor, intercept * form.factor])
    return _read(keras, x, form.answer)


def _read(keras: Any, x: Any, answer: Answer) -> Any:
    # Named after what is in it. Probabilities stay float32 whatever layers compute in.
    if answer == "scores":
        return keras.layers.Activation("linear", dtype="float32", name="scores")(x)
    return keras.layers.Activation(answer, dtype="float32", name="probabilities")(x)


def _about(head: "Head", form: DenseForm | NetworkForm, geometry: Geometry) -> dict[str, Any]:
    return {
        "version": VERSION,
        "made_by": f"bottleneck {__version__}",
        "classes": list(head.classes),
        "task": head.task,
        "answer": "scores" if form.answer == "scores" else "probabilities",
        "image": geometry.recipe(),
        "recipe": {
            "identity": dict(head.recipe.identity),
            "execution": dict(head.recipe.execution),
        },
        "output": head.output,
        "head": head.kind,
    }
