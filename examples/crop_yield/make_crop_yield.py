# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Rebuild `crop_yield.parquet`: simulated satellite series and simulated yields under real daily weather.

    python -m venv crop && crop/bin/pip install aquacrop==3.1.0 prosail==2.0.5 pandas==3.1.1 pyarrow==26.0.1
    crop/bin/python make_crop_yield.py --output crop_yield.parquet --workers 2

Written and run with Python 3.11, numpy 2.4.6, scipy 1.17.1, numba 0.68.1 and the versions above. Same seed, same rows,
whatever the number of workers: every draw comes from a generator seeded by the name of what is drawn.

One row is one field and season. AquaCrop (FAO's crop model) turns weather, soil and management into daily canopy
cover, soil water and the final dry yield; PROSPECT-D + 4SAIL turn the canopy, leaf and soil state of the day of a
satellite overpass into a spectrum; the weather decides which overpasses are clouded. README.md is the data card.
"""

import argparse
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import prosail
from aquacrop import AquaCropModel, Crop, FieldMngt, InitialWaterContent, IrrigationManagement, Soil
from aquacrop.utils import get_filepath, prepare_weather

BANDS = ("NIR", "RVI", "SWIR1", "blue", "evi", "ndvi", "red")
NUM_STEPS, STEP_DAYS = 36, 10
SPIN_UP_DAYS = 90  # fallow before sowing, so that soil water at sowing is the real weather's
SEASON_DAYS = NUM_STEPS * STEP_DAYS + 2

# ---------------------------------------------------------------------------------------------------------------------
# Sites, crops, practice
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """A weather file that ships with aquacrop: where it is, how maritime it is, the soils drawn for it."""

    latitude: float  # degrees north
    hargreaves: float  # Hargreaves-Samani coefficient: 0.16 inland, 0.19 near a coast
    soils: tuple[str, ...]


@dataclass(frozen=True)
class Practice:
    """How a crop is grown at a site. `next_year`: harvested in the calendar year after sowing."""

    crop: str
    parameters: str  # name in aquacrop's crop table; "GDD" means that temperature drives its calendar
    sowing: str  # month-day of the middle sowing date
    regimes: tuple[str, ...]
    fields: int  # fields drawn per site and year
    longest: int = 200  # days after sowing at which an immature crop is harvested all the same
    next_year: bool = False


@dataclass(frozen=True)
class Leaf:
    """Leaf and canopy constants of a healthy crop, for PROSPECT-D and 4SAIL."""

    structure: float  # N
    chlorophyll: float  # ug/cm2
    dry_matter: float  # g/cm2
    water: float  # cm
    angle: float  # average leaf inclination, degrees


EAST_ENGLAND = ("SandyLoam", "Loam", "ClayLoam", "Clay")
NORTH_ENGLAND = ("SandyLoam", "Loam", "ClayLoam", "SiltClayLoam")
SITES = {
    "champion": Site(40.40, 0.16, ("LoamySand", "SandyLoam", "SiltLoam", "ClayLoam")),
    "cordoba": Site(-31.42, 0.16, ("SandyLoam", "Loam", "SiltLoam", "ClayLoam")),
    "cambridge": Site(52.21, 0.19, EAST_ENGLAND),
    "lincolnshire": Site(53.10, 0.19, EAST_ENGLAND),
    "norfolk": Site(52.60, 0.19, EAST_ENGLAND),
    "suffolk": Site(52.20, 0.19, EAST_ENGLAND),
    "north_yorks": Site(54.20, 0.19, NORTH_ENGLAND),
    "northumberland": Site(55.20, 0.19, NORTH_ENGLAND),
    "brussels": Site(50.85, 0.19, ("LoamySand", "SandyLoam", "Loam", "SiltLoam")),
    "tunis": Site(36.80, 0.19, ("SandyLoam", "Loam", "ClayLoam", "Clay")),
    "hyderabad": Site(17.39, 0.16, ("LoamySand", "SandyLoam", "SandyClayLoam", "Clay")),
}
PADDY_SOILS = ("Paddy", "SiltClay", "Clay")  # rice stands in bunded fields on heavy soils

RAINFED, IRRIGATED, MIXED = ("rainfed",), ("deficit", "full"), ("rainfed", "deficit", "full")
THRESHOLDS = {"deficit": 35, "full": 65}  # irrigate when root-zone water falls below this % of what plants can use
BRITISH_CEREALS = (
    Practice("wheat", "WheatGDD", "10-08", RAINFED, 1, longest=340, next_year=True),
    Practice("barley", "BarleyGDD", "03-18", RAINFED, 1),
    Practice("potato", "Potato", "04-22", ("rainfed", "full"), 1),
)
BRITISH_EAST = (*BRITISH_CEREALS, Practice("sugar_beet", "SugarBeet", "04-05", RAINFED, 1))
PRACTICES: dict[str, tuple[Practice, ...]] = {
    "champion": (
        Practice("maize", "MaizeGDD", "05-05", MIXED, 3),
        Practice("soybean", "Soybean", "05-18", MIXED, 3),
        Practice("sorghum", "Sorghum", "05-22", MIXED, 3),
        Practice("wheat", "WheatGDD", "09-20", ("rainfed", "deficit"), 3, longest=340, next_year=True),
        Practice("sugar_beet", "SugarBeetGDD", "04-22", IRRIGATED, 3),
        Practice("potato", "Potato", "04-28", IRRIGATED, 3),
    ),
    "cordoba": (
        Practice("maize", "MaizeGDD", "10-10", ("rainfed", "deficit"), 4, next_year=True),
        Practice("soybean", "SoybeanGDD", "11-12", ("rainfed", "deficit"), 4, next_year=True),
        Practice("sorghum", "SorghumGDD", "11-05", RAINFED, 4, next_year=True),
        Practice("wheat", "WheatGDD", "06-01", ("rainfed", "deficit"), 4),
        Practice("sunflower", "SunflowerGDD", "10-02", RAINFED, 4, next_year=True),
    ),
    **{site: BRITISH_EAST for site in ("cambridge", "lincolnshire", "norfolk", "suffolk")},
    **{site: BRITISH_CEREALS for site in ("north_yorks", "northumberland")},
    "brussels": (
        Practice("wheat", "WheatGDD", "10-20", RAINFED, 3, longest=340, next_year=True),
        Practice("barley", "BarleyGDD", "03-14", RAINFED, 3),
        Practice("potato", "Potato", "04-25", ("rainfed", "full"), 3),
        Practice("sugar_beet", "SugarBeet", "04-10", RAINFED, 3),
        Practice("maize", "Maize", "05-02", RAINFED, 3),
    ),
    "tunis": (
        Practice("wheat", "WheatGDD", "11-15", ("rainfed", "deficit"), 4, longest=240, next_year=True),
        Practice("barley", "BarleyGDD", "11-20", RAINFED, 4, next_year=True),
        Practice("potato", "PotatoGDD", "02-05", MIXED, 4),
        Practice("tomato", "TomatoGDD", "04-01", IRRIGATED, 4),
        Practice("sugar_beet", "SugarBeetGDD", "10-18", MIXED, 4, longest=270, next_year=True),
    ),
    "hyderabad": (
        Practice("rice", "PaddyRiceGDD", "07-18", ("rainfed", "full"), 6),
        Practice("sorghum", "SorghumGDD", "06-28", RAINFED, 6),
        Practice("maize", "MaizeGDD", "06-28", ("rainfed", "deficit"), 6),
        Practice("soybean", "SoybeanGDD", "06-28", ("rainfed", "deficit"), 6),
        Practice("wheat", "WheatGDD", "11-12", MIXED, 6, next_year=True),
        Practice("tomato", "TomatoGDD", "11-05", IRRIGATED, 6, next_year=True),
    ),
}
SOWING_OFFSETS = (-12, 0, 12)  # days around the middle sowing date

# aquacrop's barley is an Ethiopian highland calibration (harvest index 0.33, sparse canopy): a modern European
# cultivar has about 0.45 and a full canopy.
CULTIVARS: dict[str, dict[str, float]] = {"barley": {"HI0": 0.45, "CCx": 0.92}}
LEAVES = {
    "maize": Leaf(1.50, 56, 0.0050, 0.015, 54),
    "soybean": Leaf(1.40, 45, 0.0045, 0.011, 42),
    "sorghum": Leaf(1.50, 50, 0.0055, 0.014, 52),
    "wheat": Leaf(1.45, 50, 0.0050, 0.013, 60),
    "barley": Leaf(1.40, 44, 0.0045, 0.013, 58),
    "sugar_beet": Leaf(1.60, 46, 0.0055, 0.024, 46),
    "potato": Leaf(1.50, 42, 0.0040, 0.019, 44),
    "sunflower": Leaf(1.65, 46, 0.0055, 0.016, 40),
    "rice": Leaf(1.40, 42, 0.0045, 0.012, 62),
    "tomato": Leaf(1.50, 44, 0.0045, 0.018, 48),
}
# Brightness of the dry soil: sands are bright, clays and organic-rich paddies are dark (factor on PROSAIL's dry soil).
BRIGHTNESS = {
    "LoamySand": 1.10, "SandyLoam": 1.00, "Loam": 0.85, "SiltLoam": 0.90, "SandyClayLoam": 0.85,
    "ClayLoam": 0.75, "SiltClayLoam": 0.75, "SiltClay": 0.70, "Clay": 0.62, "Paddy": 0.60,
}  # fmt: skip


@cache
def site_weather(site: str) -> pd.DataFrame:
    """Daily weather of a site: Date, MinTemp and MaxTemp (deg C), Precipitation and ReferenceET (mm)."""
    return prepare_weather(get_filepath(f"{site}_climate.txt"))


def generator(seed: int, *key: object) -> np.random.Generator:
    """A random generator that depends on the names in `key` only, not on the order of the work."""
    return np.random.default_rng([seed, zlib.crc32("|".join(map(str, key)).encode())])


# ---------------------------------------------------------------------------------------------------------------------
# Sampling: which fields exist, and how they are managed
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """One field and season: its place, its practice, and the management that no column tells."""

    field_id: str
    site: str
    practice: Practice
    sowing_date: pd.Timestamp
    soil: str
    irrigation: str
    fertility: float  # 1: no shortage of nutrients
    density: float  # plants per hectare, relative to the crop table
    initial_water: float  # % of plant-available water 90 days before sowing
    harvest_index: float  # the cultivar's, relative to the crop table

    @property
    def year(self) -> int:
        return self.sowing_date.year + self.practice.next_year


def draw_fields(site: str, practice: Practice, year: int, seed: int) -> list[Field]:
    """Draw the fields of one crop, site and sowing year: distinct soil, regime and date; free management."""
    rng = generator(seed, "fields", site, practice.crop, year)
    soils = PADDY_SOILS if practice.crop == "rice" else SITES[site].soils
    choices = list(product(soils, practice.regimes, SOWING_OFFSETS))
    fields = []
    for number, index in enumerate(rng.permutation(len(choices))[: practice.fields]):
        soil, irrigation, offset = choices[index]
        fields.append(
            Field(
                field_id=f"{site}-{practice.crop}-{year + practice.next_year}-{number}",
                site=site,
                practice=practice,
                sowing_date=pd.Timestamp(f"{year}-{practice.sowing}") + pd.Timedelta(days=offset),
                soil=soil,
                irrigation=irrigation,
                fertility=1.0 - 0.6 * rng.beta(1.3, 2.6),
                density=rng.uniform(0.4, 1.3),
                initial_water=rng.uniform(30.0, 100.0),
                harvest_index=float(np.clip(rng.normal(1.0, 0.03), 0.92, 1.08)),
            )
        )
    return fields


def draw_all_fields(seed: int) -> list[Field]:
    """All fields whose fallow, season and 36 steps lie inside the weather file of their site."""
    fields = []
    for site, practices in PRACTICES.items():
        first, last = site_weather(site)["Date"].iloc[[0, -1]]
        for practice, year in product(practices, range(first.year, last.year + 1)):
            fields += [
                field
                for field in draw_fields(site, practice, year, seed)
                if field.sowing_date - pd.Timedelta(days=SPIN_UP_DAYS) >= first
                and field.sowing_date + pd.Timedelta(days=SEASON_DAYS) <= last
            ]
    return fields


# ---------------------------------------------------------------------------------------------------------------------
# Simulation: AquaCrop
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Season:
    """Daily state from sowing on; `wetness` of the top 10 cm is 0 when air dry and 1 at field capacity."""

    dry_yield: float  # t/ha
    harvest_day: int
    canopy_cover: np.ndarray  # (days,)
    stress: np.ndarray  # (days,) share of the last ten days' transpiration that drought took away
    wetness: np.ndarray  # (days,)


def make_crop(field: Field) -> Crop:
    """The crop table's entry, changed by cultivar, stand density and nutrient shortage.

    As in FAO AquaCrop's soil fertility stress (Reference Manual, 3.15), which aquacrop-OSPy lacks, a shortage slows
    and lowers the canopy and lowers the biomass per unit of water.
    """
    name, sowing = field.practice.parameters, field.sowing_date.strftime("%m/%d")
    table = Crop(name, planting_date=sowing)
    cultivar = CULTIVARS.get(field.practice.crop, {})
    shortage, thin = 1.0 - field.fertility, max(0.0, 1.0 - field.density)
    cover = cultivar.get("CCx", table.CCx) * (1.0 - 0.55 * shortage) * (1.0 - 0.25 * thin)
    changes = {
        "CCx": cover,
        "PlantPop": table.PlantPop * field.density,
        "WP": table.WP * (1.0 - 0.50 * shortage),
        "HI0": cultivar.get("HI0", table.HI0) * field.harvest_index,
    }
    # Either growth rate may be a "not set" -9, according to the entry's calendar.
    changes |= {key: rate * (1.0 - 0.25 * shortage) for key in ("CGC", "CGC_CD") if (rate := getattr(table, key)) > 0}
    return Crop(name, planting_date=sowing, **changes)


def simulate(field: Field) -> Season | None:
    """Run AquaCrop from 90 days before sowing to 362 days after it; None when no crop came to stand."""
    start = field.sowing_date - pd.Timedelta(days=SPIN_UP_DAYS)
    end = field.sowing_date + pd.Timedelta(days=SEASON_DAYS)
    weather = site_weather(field.site)
    weather = weather[weather["Date"].between(start, end)].reset_index(drop=True)
    # After the latest harvest no crop is left to feel temperature, but AquaCrop looks ahead for the day of maturity
    # and refuses a season too cold to have one. A warm tail gives it one; the crop is then harvested immature.
    latest = field.sowing_date + pd.Timedelta(days=field.practice.longest)
    weather.loc[weather["Date"] > latest, ["MinTemp", "MaxTemp"]] = 18.0, 32.0
    watered = field.irrigation != "rainfed"
    options = {"SMT": [THRESHOLDS[field.irrigation]] * 4} if watered else {}
    soil = Soil(field.soil)
    layers = 2 if field.soil == "Paddy" else 1
    model = AquaCropModel(
        start.strftime("%Y/%m/%d"),
        end.strftime("%Y/%m/%d"),
        weather,
        soil,
        make_crop(field),
        InitialWaterContent("Pct", "Layer", list(range(1, layers + 1)), [field.initial_water] * layers),
        irrigation_management=IrrigationManagement(irrigation_method=int(watered), **options),
        field_management=FieldMngt(bunds=field.practice.crop == "rice", z_bund=0.2),
        off_season=True,
    )
    model._initialize()
    clock = model._clock_struct
    if clock.planting_dates[0] != field.sowing_date:
        raise RuntimeError(f"{field.field_id}: AquaCrop would sow on {clock.planting_dates[0]}.")
    # A second season that never comes keeps the soil water running after the harvest; the model would stop there.
    clock.planting_dates = [field.sowing_date, pd.Timestamp("2200-01-01")]
    clock.harvest_dates = [latest, pd.Timestamp("2200-12-31")]
    clock.n_seasons = 2
    model.run_model(till_termination=True, initialize_model=False)
    return read_season(model, soil)


def read_season(model: AquaCropModel, soil: Soil) -> Season | None:
    """Daily series from sowing on. None when the canopy never covered 5 % of the soil: a farmer would sow again."""
    final = model._outputs.final_stats.iloc[0]
    growth, flux, water = (
        table.iloc[SPIN_UP_DAYS : SPIN_UP_DAYS + NUM_STEPS * STEP_DAYS]
        for table in (model.get_crop_growth(), model.get_water_flux(), model.get_water_storage())
    )
    cover = growth["canopy_cover"].to_numpy()
    if cover.max() < 0.05:
        return None
    actual, potential = (flux[name].rolling(10, min_periods=1).sum().to_numpy() for name in ("Tr", "TrPot"))
    top = soil.profile.iloc[0]
    air_dry = top.th_wp / 2.0
    return Season(
        dry_yield=float(final["Dry yield (tonne/ha)"]),
        harvest_day=int(final["Harvest Date (Step)"]) - SPIN_UP_DAYS,
        canopy_cover=cover,
        stress=np.where(potential > 0.1, 1.0 - actual / np.maximum(potential, 0.1), 0.0).clip(0.0, 1.0),
        wetness=((water["th1"].to_numpy() - air_dry) / (top.th_fc - air_dry)).clip(0.0, 1.0),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Canopy to reflectance: PROSPECT-D + 4SAIL
# ---------------------------------------------------------------------------------------------------------------------

# Sentinel-2A MSI band centre and width in nm (B2, B4, B8A, B11); a flat response across the width.
PASSES = {"blue": (492.4, 66.0), "red": (664.6, 31.0), "NIR": (864.7, 21.0), "SWIR1": (1613.7, 91.0)}
WAVELENGTHS = np.arange(400, 2501)
RESPONSE = np.stack([np.abs(WAVELENGTHS - centre) <= width / 2 for centre, width in PASSES.values()]).astype(float)
RESPONSE /= RESPONSE.sum(1, keepdims=True)  # (4, 2101)


def extinction(angle: float) -> float:
    """Nadir extinction coefficient of an ellipsoidal canopy of this mean leaf angle, degrees (Campbell 1986, 1990)."""
    x = (np.deg2rad(angle) / 9.65) ** (-1.0 / 1.65) - 3.0
    return float(x / (x + 1.774 * (x + 1.182) ** -0.733))


def solar_zenith(latitude: float, date: pd.Timestamp) -> float:
    """Solar zenith angle at 10:30 local solar time, degrees, at most 75 (Cooper's declination)."""
    declination = np.deg2rad(23.45 * np.sin(2 * np.pi * (284 + date.dayofyear) / 365))
    lat, hour = np.deg2rad(latitude), np.deg2rad(-22.5)
    cosine = np.sin(lat) * np.sin(declination) + np.cos(lat) * np.cos(declination) * np.cos(hour)
    return min(float(np.rad2deg(np.arccos(cosine))), 75.0)


def reflectance(field: Field, season: Season, day: int, traits: np.ndarray) -> np.ndarray:
    """Noise-free (blue, red, NIR, SWIR1) on a day after sowing; `traits` are the field's own small departures."""
    leaf = LEAVES[field.practice.crop]
    soils = prosail.spectral_lib.soil
    dry = 1.0 - season.wetness[day]
    soil = BRIGHTNESS[field.soil] * traits[0] * (dry * soils.rsoil1 + (1.0 - dry) * soils.rsoil2)
    green = season.canopy_cover[day] if day < season.harvest_day else 0.0
    if green < 1e-3:
        return RESPONSE @ soil
    stress = season.stress[day]
    # Part of the leaf area lost since the peak still stands, brown.
    brown = 0.6 * max(0.0, season.canopy_cover[: day + 1].max() - green)
    share = green / (green + brown)
    angle = leaf.angle + traits[1] + 8.0 * stress  # wilting leaves hang
    area = -np.log(1.0 - min(green + brown, 0.985)) / extinction(angle)
    health = (1.0 - 0.35 * stress) * (0.45 + 0.55 * field.fertility) * traits[2]
    chlorophyll = leaf.chlorophyll * health * share
    spectrum = prosail.run_prosail(
        n=leaf.structure + traits[3] + 0.3 * (1.0 - share),
        cab=chlorophyll,
        car=chlorophyll / 5.0 + 3.0 * (1.0 - share),
        cbrown=0.9 * (1.0 - share) + 0.1 * stress,
        cw=leaf.water * (1.0 - 0.35 * stress) * share + 0.002 * (1.0 - share),
        cm=leaf.dry_matter,
        lai=area,
        lidfa=angle,
        hspot=0.05,
        tts=solar_zenith(SITES[field.site].latitude, field.sowing_date + pd.Timedelta(days=day)),
        tto=0.0,
        psi=0.0,
        prospect_version="D",
        rsoil0=soil,
    )
    return RESPONSE @ spectrum


# ---------------------------------------------------------------------------------------------------------------------
# Clouds, noise, indices
# ---------------------------------------------------------------------------------------------------------------------


@cache
def clear_overpasses(site: str, seed: int) -> tuple[pd.Timestamp, np.ndarray]:
    """First day of the site's weather, and for each day whether a satellite passed under a clear sky.

    A pass every fifth day (two Sentinel-2). The chance of cloud falls with the atmosphere's transmissivity, which
    Hargreaves and Samani (1982) read off the daily temperature range; on a rainy day it is at least 0.8. One sky for
    all fields of a site.
    """
    weather, rng = site_weather(site), generator(seed, "clouds", site)
    span = (weather["MaxTemp"] - weather["MinTemp"]).clip(lower=0.0)
    cloud = ((0.75 - SITES[site].hargreaves * np.sqrt(span)) / 0.5).clip(0.03, 0.97)
    cloud = cloud.where(weather["Precipitation"] < 1.0, cloud.clip(lower=0.8)).to_numpy()
    passes = np.arange(len(weather)) % 5 == rng.integers(5)
    return weather["Date"].iloc[0], passes & (rng.random(len(weather)) >= cloud)


def add_noise(spectra: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sensor and correction error on (steps, 4): 2 % common to all bands, 2 % per band, and 0.003 absolute."""
    common, own = rng.normal(1.0, 0.02, (len(spectra), 1)), rng.normal(1.0, 0.02, spectra.shape)
    return np.maximum(spectra * common * own + rng.normal(0.0, 0.003, spectra.shape), 0.005)


def with_indices(spectra: np.ndarray) -> np.ndarray:
    """Noisy (steps, 4) reflectances to (steps, 7) in the order of BANDS."""
    blue, red, nir, swir = spectra.T
    values = {"NIR": nir, "RVI": nir / red, "SWIR1": swir, "blue": blue, "red": red}
    values["ndvi"] = (nir - red) / (nir + red)
    values["evi"] = 2.5 * (nir - red) / (nir + 6.0 * red - 7.5 * blue + 1.0)
    return np.stack([values[band] for band in BANDS], axis=1)


def observe(field: Field, season: Season, seed: int) -> np.ndarray:
    """What the satellite delivers, (36, 7): in each ten days the last clear overpass, NaN when there was none."""
    rng = generator(seed, "sensor", field.field_id)
    traits = rng.normal([1.0, 0.0, 1.0, 0.0], [0.07, 2.0, 0.05, 0.04])  # soil, leaf angle, chlorophyll, structure
    first, clear = clear_overpasses(field.site, seed)
    start = (field.sowing_date - first).days
    spectra = np.full((NUM_STEPS, len(PASSES)), np.nan)
    for step in range(NUM_STEPS):
        days = step * STEP_DAYS + np.flatnonzero(clear[start + step * STEP_DAYS :][:STEP_DAYS])
        if len(days):
            spectra[step] = reflectance(field, season, int(days[-1]), traits)
    return with_indices(add_noise(spectra, rng))


# ---------------------------------------------------------------------------------------------------------------------
# Table
# ---------------------------------------------------------------------------------------------------------------------


def make_row(field: Field, seed: int) -> dict[str, object] | None:
    """One row of the table, or None when no crop came to stand."""
    season = simulate(field)
    if season is None:
        return None
    row: dict[str, object] = {
        "field_id": field.field_id,
        "site": field.site,
        "year": field.year,
        "crop": field.practice.crop,
        "soil": field.soil,
        "irrigation": field.irrigation,
        "latitude": SITES[field.site].latitude,
        "sowing_date": field.sowing_date.strftime("%Y-%m-%d"),
        "yield_t_ha": season.dry_yield,
    }
    values = observe(field, season, seed)
    columns = {f"{band}_{step:02d}": values[step, i] for i, band in enumerate(BANDS) for step in range(NUM_STEPS)}
    return row | columns


def chronological_split(years: pd.Series) -> pd.Series:
    """Last fifth of a site's years: test; the 15 % before: validation; the rest: train."""
    distinct = sorted(years.unique())
    test = round(0.20 * len(distinct))
    held_out = test + round(0.15 * len(distinct))
    names = {year: "train" for year in distinct}
    names |= {year: "validation" for year in distinct[-held_out:]} | {year: "test" for year in distinct[-test:]}
    return years.map(names)


def build(fields: list[Field], seed: int, workers: int) -> pd.DataFrame:
    """Simulate all fields and put the table together, in the order of `fields`."""
    with ProcessPoolExecutor(workers) as pool:
        rows = list(pool.map(make_row, fields, [seed] * len(fields), chunksize=20))
    table = pd.DataFrame([row for row in rows if row is not None])
    table.insert(8, "split", table.groupby("site", group_keys=False)["year"].apply(chronological_split))
    numbers = table.select_dtypes("float64").columns
    table[numbers] = table[numbers].round(4).astype("float32")
    table["year"] = table["year"].astype("int32")
    print(f"{len(fields)} fields simulated, {len(fields) - len(table)} dropped because no crop came to stand")
    return table


def check(table: pd.DataFrame) -> None:
    """Raise ValueError when the table breaks a promise of the data card."""
    values = table[[f"{band}_{step:02d}" for band in BANDS for step in range(NUM_STEPS)]].to_numpy()
    values = values.reshape(len(table), len(BANDS), NUM_STEPS)
    missing = np.isnan(values)
    key = ["site", "year", "crop", "soil", "irrigation", "sowing_date"]
    problems = {
        "a yield is not finite or is negative": not (table["yield_t_ha"] >= 0).all(),
        "field_id is not unique": table["field_id"].duplicated().any(),
        f"two rows share {key}": table.duplicated(key).any(),
        "a step is missing in some bands only": (missing.any(1) != missing.all(1)).any(),
        "a series was never observed": missing.all((1, 2)).any(),
        "a value is infinite": np.isinf(values).any(),
    }
    if found := [name for name, wrong in problems.items() if wrong]:
        raise ValueError(f"crop_yield table: {'; '.join(found)}.")


def summarise(table: pd.DataFrame) -> None:
    """Print the numbers of the data card."""
    clouded = table.filter(like="ndvi_").isna()
    print(f"rows {len(table)}, missing steps {clouded.to_numpy().mean():.1%}, yield below 0.5 t/ha: "
          f"{(table.yield_t_ha < 0.5).mean():.1%}")  # fmt: skip
    shown = table.assign(missing=clouded.mean(axis=1))
    sites = shown.groupby("site").agg(
        rows=("year", "size"), years=("year", "nunique"), first=("year", "min"), last=("year", "max"),
        missing=("missing", "mean"),
    )  # fmt: skip
    parts = pd.crosstab(table.site, table.split)[["train", "validation", "test"]]
    years = table.groupby(["site", "split"]).year.agg(lambda y: f"{y.min()}-{y.max()}").unstack()
    print(sites.join(parts).join(years[["validation", "test"]], rsuffix="_years").round(3).to_string())
    print(table.split.value_counts().to_string())
    print(table.groupby(["crop", "site"]).yield_t_ha.describe().round(2).to_string())
    print(pd.crosstab(table.crop, table.irrigation).to_string())
    print(pd.crosstab(table.site, table.crop).to_string())
    print(table.soil.value_counts().to_string())
    train, test = table[table.split == "train"], table[table.split == "test"]
    for group in (["crop"], ["site", "crop"], ["site", "crop", "irrigation"], ["site", "crop", "irrigation", "soil"]):
        means = train.groupby(group).yield_t_ha.mean().rename("guess")
        guess = test.join(means, on=group).guess.fillna(train.yield_t_ha.mean())
        error = ((test.yield_t_ha - guess) ** 2).mean() / test.yield_t_ha.var(ddof=0)
        print(f"test R2 of the training mean by {'+'.join(group)}: {1 - error:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("crop_yield.parquet"))
    parser.add_argument("--workers", type=int, default=2, help="processes; the result does not depend on it")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table = build(draw_all_fields(arguments.seed), arguments.seed, arguments.workers)
    check(table)
    table.to_parquet(arguments.output, compression="zstd", compression_level=19, index=False)
    summarise(table)
    print(f"{arguments.output.name}: {arguments.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
