"""Every sentence an operator can be shown. Reword in this package and nowhere else.

Codes: U usage, C contract, D data, H model folder, P plan, R run, A artifact, E environment,
X extra, G gate. A code is never reused.
"""
