"""Graph and cache joined: calls, bundles and pages answered."""
