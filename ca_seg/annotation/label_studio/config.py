"""What a project's labelling configuration says: where the image is, what is drawn, and the words of the labels.

<View>
  <Image name="image" value="$photo"/>
  <BrushLabels name="brush" toName="image">
    <Label value="Katze" ca_seg="cat, kitten"/>      asked by these words
    <Label value="Wiese" alias="grass"/>             by its alias
    <Label value="sky"/>                             by its value
    <Label value="damage" ca_seg=""/>                not asked: left to the annotators
  </BrushLabels>
  <TextArea name="prompt" toName="image"/>           words that an annotator types
</View>
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from ca_seg.errors import UnknownName, UserError

CONTROLS = {"BrushLabels": "brushlabels", "PolygonLabels": "polygonlabels", "RectangleLabels": "rectanglelabels"}
PHRASES = "ca_seg"  # the attribute of a label with its words


@dataclass(frozen=True)
class LabelControl:
    """The control of a project for which predictions are made.

    Args:
        name: of the control, "from_name" of results
        image: the name of the image's tag, "to_name" of results
        field: the field of a task that holds the image's address
        kind: brushlabels, polygonlabels or rectanglelabels
        phrases: the words of each label that is asked, by the name that results carry
        others: labels that are not asked
    """

    name: str
    image: str
    field: str
    kind: str
    phrases: Mapping[str, tuple[str, ...]]
    others: tuple[str, ...] = ()

    @classmethod
    def parse(cls, config: str, control: str = "") -> LabelControl:
        """From the XML of a labelling configuration.

        Args:
            config: the configuration
            control: the name of the control; "": the first that can be predicted

        Raises:
            UserError: for XML that is broken, and for a configuration without an image, control or label to be asked
            UnknownName: for a control that there is not
        """
        root = _tree(config)
        usable = [tag for tag in root.iter() if tag.tag in CONTROLS]
        if not usable:
            raise UserError(
                "the labelling configuration has no control that can be predicted", allowed=", ".join(CONTROLS)
            )
        names = [tag.get("name", "") for tag in usable]
        if control and control not in names:
            raise UnknownName("control", control, names)
        chosen = usable[names.index(control)] if control else usable[0]
        image, field = _image_of(root, chosen)
        phrases = dict(_phrases(chosen))
        asked = {label: words for label, words in phrases.items() if words}
        if not asked:
            raise UserError(
                f"the control {chosen.get('name')!r} has no label that can be asked", fix="add labels to it"
            )
        others = tuple(label for label, words in phrases.items() if not words)
        return cls(chosen.get("name", ""), image, field, CONTROLS[chosen.tag], asked, others)

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels of the control."""
        return (*self.phrases, *self.others)


def _tree(config: str) -> ElementTree.Element:
    if "<!DOCTYPE" in config or "<!ENTITY" in config:
        raise UserError("the labelling configuration declares a document type", allowed="tags of Label Studio")
    try:
        return ElementTree.fromstring(config)
    except ElementTree.ParseError as problem:
        raise UserError(f"the labelling configuration is no XML ({problem})") from problem


def _image_of(root: ElementTree.Element, control: ElementTree.Element) -> tuple[str, str]:
    """The name of the control's image tag, and the field of its address."""
    target = control.get("toName", "")
    for tag in root.iter("Image"):
        value = tag.get("value", "")
        if tag.get("name") == target and value.startswith("$"):
            return target, value[1:]
    raise UserError(
        f"the control {control.get('name')!r} belongs to {target!r}, which is no image of one field",
        allowed='<Image name="image" value="$image"/> and toName="image"',
    )


def _phrases(control: ElementTree.Element) -> Iterator[tuple[str, tuple[str, ...]]]:
    for tag in control.iter("Label"):
        shown = tag.get("alias") or tag.get("value") or ""  # what Label Studio stores as the label
        if shown:
            yield shown, split_words(tag.get(PHRASES, shown))


def split_words(text: str) -> tuple[str, ...]:
    """The words of a text in which commas separate them."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
