"""How right an answer is: text in, a share of 0 to 1 out.

A file for each rule, pure functions of texts. The rules are those by which lmms-eval
0.7.3 reads the same tasks; tests/peers holds them against it. An answer is stripped of
outer blanks before it comes here.
"""
