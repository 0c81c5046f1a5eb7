"""Names of organisations, people and projects, and the phrases from which titles and texts of issues are composed."""

ORGANISATIONS = ("Heron", "Kestrel")

PEOPLE = (
    "Ada Okafor", "Amara Lindqvist", "Anton Weiss", "Beatriz Nunes", "Chidi Eze", "Clara Hoffmann", "Daniel Mori",
    "Elif Aydin", "Emil Sorensen", "Farah Haddad", "Grace Mwangi", "Henrik Dahl", "Ines Carvalho", "Ivo Petrov",
    "Jonas Keller", "Katya Smirnova", "Lucia Romano", "Mateo Vargas", "Maya Cohen", "Nadia Rahman", "Noah Fischer",
    "Olga Novak", "Pavel Horak", "Priya Nair", "Rafael Costa", "Sana Malik", "Tomas Brandt", "Valerie Dubois",
    "Wei Zhang", "Yuki Tanaka",
)  # fmt: skip

# Key, name, and the parts that its issues are about.
PROJECTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("BIL", "Billing", ("invoice export", "credit note", "payment reminder", "tax table", "bank import")),
    ("CHK", "Checkout", ("address form", "voucher field", "payment page", "order summary", "guest checkout")),
    ("SRC", "Search", ("result list", "spelling suggestion", "filter panel", "saved search", "index job")),
    ("ACC", "Accounts", ("sign-in page", "password reset", "profile page", "session list", "invitation mail")),
    ("CAT", "Catalogue", ("product page", "price list", "image upload", "category tree", "bulk edit")),
    ("SHP", "Shipping", ("label printer", "tracking page", "carrier table", "return form", "pick list")),
    ("WHS", "Warehouse", ("stock count", "scanner app", "shelf map", "inbound delivery", "low stock alert")),
    ("MOB", "Mobile app", ("start screen", "push message", "offline mode", "camera scan", "settings screen")),
    ("API", "Public API", ("rate limit", "webhook delivery", "API key page", "pagination", "error document")),
    ("REP", "Reports", ("sales report", "monthly summary", "chart legend", "CSV download", "date range picker")),
    ("MSG", "Messaging", ("conversation view", "read receipt", "attachment preview", "mention", "mail digest")),
    ("CAL", "Calendar", ("week view", "recurring event", "time zone menu", "shared calendar", "reminder")),
    ("DOC", "Documentation", ("search box", "code sample", "release page", "navigation tree", "glossary")),
    ("ADM", "Back office", ("customer record", "role table", "audit log", "merge dialog", "notes field")),
    ("PAY", "Payments", ("card form", "refund", "settlement file", "fraud check", "payout list")),
    ("SUB", "Subscriptions", ("plan change", "trial period", "renewal mail", "seat count", "cancellation page")),
    ("LOC", "Translations", ("language menu", "plural form", "translation import", "date format", "missing text list")),
    ("OPS", "Operations", ("deploy script", "health check", "log shipping", "backup job", "status page")),
    ("SEC", "Security", ("two-factor prompt", "access review", "key rotation", "login alert", "permission check")),
    ("DAT", "Data platform", ("event stream", "nightly import", "schema change", "retention job", "sample export")),
    ("CRM", "Customer care", ("ticket queue", "canned reply", "call log", "customer timeline", "satisfaction survey")),
    ("MKT", "Campaigns", ("newsletter editor", "audience filter", "landing page", "preview mail", "unsubscribe link")),
    ("HRX", "People team", ("leave request", "onboarding list", "org chart", "expense form", "payslip page")),
    ("MAP", "Store finder", ("map view", "opening hours", "route link", "store list", "distance filter")),
    ("DSN", "Design system", ("button", "date field", "colour token", "dialog", "table header")),
)  # fmt: skip

FAULTS = (
    "times out", "loses the last entry", "shows yesterday's data", "is empty after a reload", "ignores the sort order",
    "fails without a message", "is cut off on narrow screens", "counts one too many", "cannot be reached by keyboard",
    "flickers", "saves twice", "shows the wrong currency", "is slow", "forgets its settings", "opens behind the page",
    "rounds the wrong way", "mixes up two customers", "breaks the layout", "cannot be undone", "sends two mails",
)  # fmt: skip

CIRCUMSTANCES = (
    "when the account is new", "for large customers", "after midnight", "on slow connections", "in dark mode",
    "when two people edit at once", "with more than a hundred rows", "after the session has expired",
    "for addresses without a street", "when the name has an accent", "on the first of the month", "in Firefox",
    "when the network drops", "after a time zone change", "for archived records", "if the amount is zero",
    "with a screen reader", "when the file is empty", "on older phones", "after an update",
)  # fmt: skip

WISHES = (
    "Let people sort the {part}", "Remember the last {part}", "Show who changed the {part}", "Make the {part} faster",
    "Explain the {part} in the help", "Write tests for the {part}", "Simplify the {part}", "Replace the old {part}",
    "Add an empty state to the {part}", "Log what the {part} does", "Let leads export the {part}",
    "Measure how often the {part} is used",
)  # fmt: skip

OBSERVATIONS = (
    "It happens about once in ten tries.", "A customer sent a recording.", "It began with the last release.",
    "Nobody could reproduce it on the test system.", "The log shows nothing unusual.", "A reload helps.",
    "It affects the whole team.", "There is a workaround, but it takes ten clicks.", "Three customers asked for it.",
    "We promised this for the spring.", "It was reported twice before.", "The numbers are right in the database.",
    "The old version did this well.", "Sales would like to show it at the fair.",
)  # fmt: skip

EXPECTATIONS = (
    "It should just work, and say so.", "A short message would be enough.", "The rest of the page should stay usable.",
    "It should take less than a second.", "Please check the mobile layout as well.", "No setting should be needed.",
    "It should behave as the other pages do.", "A test should keep it that way.",
)  # fmt: skip

REMARKS = (
    "I can reproduce this.", "Not on my machine. Which browser is it?", "This is the same as the one from last week.",
    "I have a branch for it and will open a review today.", "The customer confirmed that it is gone.",
    "Let us do the small fix first.", "I would rather wait for the new design.", "Added a failing test.",
    "Who knows this part well?", "It needs a migration, so not before Monday.", "Reviewed. Two small remarks.",
    "Seen again this morning.", "Thanks, that helps.", "The cause is a missing index.", "I will take a look tomorrow.",
    "We should tell support before we change this.", "Merged. Please test on staging.", "That was a misunderstanding.",
    "Raising the priority, because a second customer is affected.", "Can this be closed?",
)  # fmt: skip

# Of the second organisation.
SECOND_PEOPLE = ("Noor Jansen", "Silvia Marin", "Theo Park", "Una Byrne")
SECOND_TITLES = (
    "The box on the east tower is full",
    "The camera of box 4 shows last year's brood",
    "Rings for the young birds are late",
    "The ladder does not reach box 9",
    "Order more larch boards",
    "The map names a tower twice",
)
