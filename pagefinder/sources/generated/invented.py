"""The words of the embedded default: names, metrics and what befell them, all invented."""

FIRST_NAMES = (
    "Alder Birch Cobalt Delta Ember Falcon Granite Harbor Ivory Juniper Kestrel Lumen Marble "
    "Nimbus Opal Pioneer Quartz Raven Saffron Tundra"
).split()
LAST_NAMES = "Foods Motors Energy Rail Media Bank Steel Textiles".split()

# What a page calls a metric, what a question may call it, and its unit.
METRICS: dict[str, tuple[tuple[str, ...], str]] = {
    "revenue": (("sales", "turnover"), "m"),
    "net profit": (("earnings after tax", "bottom line"), "m"),
    "headcount": (("number of employees", "staff size"), ""),
    "free cash flow": (("cash left after investment", "spare cash"), "m"),
    "order intake": (("new orders", "bookings"), "m"),
    "research spend": (("development budget", "money for research"), "m"),
    "energy use": (("power consumption", "electricity used"), "GWh"),
    "CO2 emissions": (("carbon output", "greenhouse gases"), "kt"),
    "net debt": (("borrowings", "money owed"), "m"),
    "gross margin": (("margin before overheads", "markup"), "%"),
    "customer churn": (("lost customers", "clients leaving"), "%"),
    "store count": (("number of shops", "outlets"), ""),
    "web visits": (("site traffic", "online visitors"), "k"),
    "delivery time": (("days to ship", "shipping delay"), "d"),
    "return rate": (("goods sent back", "refunds"), "%"),
    "market share": (("slice of the market", "market position"), "%"),
    "dividend": (("payout to owners", "cash per share"), "ct"),
    "share price": (("stock quote", "value of a share"), "EUR"),
    "tax rate": (("taxes due", "fiscal burden"), "%"),
    "capex": (("capital spending", "plant investment"), "m"),
    "inventory": (("stock on hand", "goods in store"), "m"),
    "warranty claims": (("faults reported", "repair requests"), ""),
    "training hours": (("time in courses", "staff education"), "h"),
    "water use": (("water consumption", "water drawn"), "kl"),
    "sick leave": (("days off ill", "absence"), "d"),
    "accidents": (("injuries at work", "safety incidents"), ""),
}
QUARTERS = {1: "first", 2: "second", 3: "third", 4: "fourth"}
REGIONS = ("North", "South", "East", "West", "Centre")
SEGMENTS = ("Retail", "Online", "Export", "Leasing", "Service")
CAUSES = {
    "a new plant in Lyon": "a factory opened",
    "a strike in spring": "workers walked out",
    "higher fuel prices": "petrol cost more",
    "a cheaper supplier": "parts were bought for less",
    "the merger in May": "two firms were joined",
    "a wave of hiring": "many people were taken on",
    "a mild winter": "the weather was warm",
    "a lost lawsuit": "a court ruled against it",
    "software from Oslo": "a program was introduced",
    "a recall of brakes": "a part had to be replaced",
}
