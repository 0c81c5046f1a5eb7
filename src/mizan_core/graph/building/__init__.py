"""The steps of `build`: one declaration compiled, one context checked, `affects` resolved, plans derived."""
