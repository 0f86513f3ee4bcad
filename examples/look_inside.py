# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a model sees and says inside: features, attentions, three views in one plot, a view of one's own. Copy, change.

python examples/look_inside.py --output seen.png
"""

import argparse

import timesclip_hf as tc

parser = argparse.ArgumentParser()
parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet", help="a row a series")
parser.add_argument("--variates", nargs="+", default=["NIR", "RVI", "SWIR1", "blue", "evi", "ndvi", "red"])
parser.add_argument("--output", default="seen.png")
options = parser.parse_args()

# (N, T) in [0, 1], NaN = gap, to intensities (N, height, width); before such a processor is loaded, too
tc.register_view("level", lambda v, height, width: v.nanmean(1)[:, None, None].expand(-1, height, width).clamp(0, 1))
table = tc.load_wide_table(options.table, target=None, variates=options.variates)
steps = len(table[0]["past_values"])
shape = {"num_variates": len(options.variates), "context_length": steps, "patch_length": 6, "patch_stride": 3}
config = tc.TimesCLIPConfig.from_preset("full", towers="tiny", **shape)  # or a model of yours: from_pretrained(...)
views = ["line", "gasf", "level"]  # in the red, green and blue of one image
processor = tc.TimesCLIPProcessor.from_config(config, variate_names=options.variates, view=views).fit(table)
batch = processor(table[:2]["past_values"])
body = tc.TimesCLIPForRegression(config).timesclip  # or a TimesCLIPModel
seen = body.get_image_features(batch["pixel_values"], output_attentions=True)
print(seen.pooler_output.shape, seen.attentions[0].shape)  # (2, V, D) and, of 2 V images, (2 V, heads, tokens, tokens)
print(body.get_text_features(**batch).pooler_output.shape)
tc.plot_model_view(processor.to_images(batch["pixel_values"])[0], options.variates).savefig(options.output)
