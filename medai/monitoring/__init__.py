"""Monitoring: is what the champion meets still what it learnt from, and is it still right?

bounds       from where on a difference counts: the ``monitoring`` section of a Problem
observing    what there is to compare of a batch, one value a subject and column
reference    the same of the champion's own patients, and of its answers to them
comparing    the one beside the other, as figures
windows      figures in the order in which they were taken, and whether a violation repeats
detection    what repeats, in the audit

A batch is compared three times: its data, the champion's answers to it, and, once outcomes are known, how right they
were.
"""

from medai.monitoring.bounds import Monitoring

__all__ = ["Monitoring"]
