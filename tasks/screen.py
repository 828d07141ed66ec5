"""``screen``: does a single column tell the outcome almost by itself?"""

from medai import screening
from tasks.stage import stage

screen = stage(screening.screen)
