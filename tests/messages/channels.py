"""Mistakes in the column channels."""

from tests.messages.case import Case

FIT = "fit --config {config} --seed_everything false"

CASES = {
    "no channel is left": Case(
        f"{FIT} --stages='[{{epochs: 1}}, {{epochs: 1, channels: 0.999}}]'",
        ("dasc fit: channels must be at most 0.968 for this network, got 0.999: layer1.0.conv1 has 16 channels",),
    ),
    "channels come back": Case(
        f"{FIT} --stages='[{{epochs: 1, channels: 0.5}}, {{epochs: 1}}]'",
        ("stage 2: channels 0.0 is below the 0.5 of the stage before it: removed channels do not come back",),
    ),
    "a module without a criterion": Case(
        f"{FIT} --model Classifier --stages='[{{epochs: 1, channels: 0.5}}]'",
        ("stages ask for channels 0.5, but Classifier does not prune: set model to PrunedClassifier",),
    ),
    "a network of one layer": Case(
        f"{FIT} --model.network channels.OneLayer --stages='[{{epochs: 1, channels: 0.5}}]'",
        ("channels must be 0 for OneLayer, whose layers have no channels that can be removed", "1, makes the logits"),
    ),
    "an unknown scope": Case(
        f"{FIT} --model.channel_criterion ChannelL1 --model.channel_criterion.round_to 0 --stages='[{{epochs: 1}}]'",
        ("channel_criterion.round_to must be an integer >= 1, got 0",),
    ),
}
