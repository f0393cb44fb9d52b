"""What the two dashboards are built of: panels, variables and links, in one style."""

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common as common_builders,
    dashboard as builders,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common, dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, ORANGE, RED = "green", "orange", "red"
LADDER = ["described", "enabled", "bound", "ready"]
LADDER_COLORS = [RED, ORANGE, "yellow", GREEN]


def instant(expr, ref="A", format=PromQueryFormat.TABLE):
    return prometheus.Dataquery().expr(expr).ref_id(ref).instant().format(format).datasource(DATASOURCE)


def over_time(expr, legend, ref="A"):
    query = prometheus.Dataquery().expr(expr).ref_id(ref).range().legend_format(legend)
    return query.format(PromQueryFormat.TIME_SERIES).datasource(DATASOURCE)


def _placed(panel, title, description, width, height):
    return panel.title(title).description(description).span(width).height(height).datasource(DATASOURCE)


def _thresholds(*steps):
    """("green", None), ("red", 1): green, and red from 1."""
    made = [models.Threshold(color=color, value=value) for color, value in steps]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(made)


def number(title, description, expr, width=3, bad_from=None, unit="short", no_value="0"):
    """One number; orange from bad_from on."""
    steps = [(GREEN, None)] + ([(ORANGE, bad_from)] if bad_from is not None else [])
    panel = _placed(stat.Panel(), title, description, width, 4).with_target(instant(expr, format=PromQueryFormat.TIME_SERIES))
    panel = panel.unit(unit).no_value(no_value).thresholds(_thresholds(*steps))
    panel = panel.graph_mode(common.BigValueGraphMode.NONE)
    return panel.color_mode(common.BigValueColorMode.VALUE)


def text(title, description, expr, label, width=6, no_value="none"):
    """The value of a label, large."""
    query = instant(expr, format=PromQueryFormat.TIME_SERIES).legend_format("{{" + label + "}}")
    panel = _placed(stat.Panel(), title, description, width, 4).with_target(query).no_value(no_value)
    panel = panel.unit("none").text_mode(common.BigValueTextMode.NAME).color_mode(common.BigValueColorMode.NONE)
    return panel.graph_mode(common.BigValueGraphMode.NONE)


def rows(title, description, queries, columns, width, height=8, links=None, mappings=None, unit="short", no_value="none"):
    """A table. queries: expressions of instant queries, whose rows are merged. columns: of the
    result's labels and of "Value" ("Value #A"... where there are several queries), in order, with
    the title that each gets; all others are left out. links: {title of a column: (title, URL)}.
    mappings: of the column "Value"."""
    panel = _placed(table.Panel(), title, description, width, height).unit(unit).no_value(no_value)
    for ref, expr in zip("ABCDEFGH", queries):
        panel = panel.with_target(instant(expr, ref))
    if len(queries) > 1:
        panel = panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    only = {"include": {"names": list(columns)}}
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="filterFieldsByName", options=only))
    order = {"indexByName": {name: at for at, name in enumerate(columns)}, "renameByName": columns, "excludeByName": {}}
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="organize", options=order))
    for column, (link_title, url) in (links or {}).items():
        link = [{"title": link_title, "url": url}]
        panel = panel.override_by_name(column, [models.DynamicConfigValue(id_val="links", value=link)])
    if mappings:
        properties = [
            models.DynamicConfigValue(id_val="mappings", value=[_value_map(mappings)]),
            models.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
        ]
        panel = panel.override_by_name(columns["Value"], properties)
    return panel


def _value_map(mappings):
    """{0: ("described", "red")}"""
    options = {
        str(value): models.ValueMappingResult(text=name, color=color, index=at)
        for at, (value, (name, color)) in enumerate(mappings.items())
    }
    return models.ValueMap(options=options)


def curves(title, description, queries, width, height=8, unit="short", minimum=0, no_value="none"):
    """Over time. queries: {legend: expression}."""
    panel = _placed(timeseries.Panel(), title, description, width, height).unit(unit).min(minimum).no_value(no_value)
    for ref, (legend, expr) in zip("ABCDEFGH", queries.items()):
        panel = panel.with_target(over_time(expr, legend, ref))
    legend = common_builders.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST)
    legend = legend.placement(common.LegendPlacement.BOTTOM).show_legend(True)
    panel = panel.legend(legend).fill_opacity(10).show_points(common.VisibilityMode.NEVER)
    return panel.tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))


def bars(title, description, expr, legend, width, height=8, unit="short", no_value="none"):
    """A bar for each series, now."""
    query = instant(expr, format=PromQueryFormat.TIME_SERIES).legend_format(legend)
    panel = _placed(bargauge.Panel(), title, description, width, height).with_target(query)
    panel = panel.unit(unit).min(0).no_value(no_value).thresholds(_thresholds(("blue", None)))
    return panel.orientation(common.VizOrientation.HORIZONTAL).display_mode(common.BarGaugeDisplayMode.BASIC)


def grouped_bars(title, description, queries, x, width, height=8, unit="short", no_value="none"):
    """Side by side for each value of the label x. queries: {name: expression}."""
    panel = _placed(barchart.Panel(), title, description, width, height).unit(unit).no_value(no_value).min(0)
    names = {x: x.capitalize()}
    for ref, (name, expr) in zip("ABCDEFGH", queries.items()):
        panel = panel.with_target(instant(expr, ref))
        names[f"Value #{ref}"] = name
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    only = {"include": {"names": list(names)}}
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="filterFieldsByName", options=only))
    order = {"indexByName": {}, "renameByName": names, "excludeByName": {}}
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="organize", options=order))
    return panel.x_field(x.capitalize())


def states(title, description, expr, legend, mappings, width, height=8, no_value="none"):
    """States over time; mappings as _value_map has them."""
    panel = _placed(statetimeline.Panel(), title, description, width, height).with_target(over_time(expr, legend))
    return panel.unit("none").no_value(no_value).mappings([_value_map(mappings)]).merge_values(True)


def row(title):
    return builders.Row(title)


def datasource_variable():
    return builders.DatasourceVariable("datasource").label("Data source").type("prometheus")


def values_of(name, label, series, its_label, all_values=True, description=""):
    """A variable of the values that a label has."""
    query = {"query": f"label_values({series}, {its_label})", "refId": "PrometheusVariableQueryEditor-VariableQuery"}
    made = builders.QueryVariable(name).label(label).description(description).query(query).datasource(DATASOURCE)
    made = made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)
    if all_values:
        every = models.VariableOption(text="All", value="$__all", selected=True)
        made = made.include_all(True).all_value(".*").multi(True).current(every)
    return made


def link(title, url, tooltip):
    return builders.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url).tooltip(tooltip).icon("external link").keep_time(True)


def board(title, uid, description):
    made = builders.Dashboard(title).uid(uid).description(description).tags(["devicetree-exporter"])
    made = made.refresh("1m").time("now-3h", "now").timezone("browser").editable().tooltip(models.DashboardCursorSync.CROSSHAIR)
    return made.with_variable(datasource_variable())
