"""The text behind every stable code, one entry each.

errors     what keeps a pair from being loaded or judged
notes      warnings, information, advice
problems   what kept us from answering; never in a record
"""
