"""Where bundles are kept: five verbs (`backend`), and the backends that come with Mizan."""
