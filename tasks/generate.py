"""``generate``: files in a publisher's layout, for problems that make their own data."""

from medai import generation
from tasks.stage import stage

generate = stage(generation.generate)
