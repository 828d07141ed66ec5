"""The data contracts: suites of Great Expectations rules as data, each rule with its clinical reason.

``suites/`` holds one YAML file a source; ``README.md`` says how to read and change them. Nothing here is imported to
judge data but the files themselves: every rule in use is one of Great Expectations' own expectations.
"""
