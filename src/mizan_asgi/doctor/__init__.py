"""`mizan doctor`: a deployment is asked from outside, as two people and as nobody, and told what is wrong with it.

`deployment` asks (with `asking` and `places`), `private`, `public` and `edges` judge what was answered.
"""
