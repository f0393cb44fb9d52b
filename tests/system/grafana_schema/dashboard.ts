// What a dashboard's JSON may be: the types of @grafana/schema, with the options of each panel that
// we use, and of targets what Grafana's Prometheus data source takes. No other property is allowed.
import type { Dashboard, Panel, RowPanel } from '@grafana/schema';
import type * as barchart from '@grafana/schema/dist/esm/raw/composable/barchart/panelcfg/x/BarChartPanelCfg_types.gen';
import type * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as statetimeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// As JSON has it: the value of an enum of strings, not its name.
type Json<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

// Grafana fills in the defaults of what is left out.
type Some<T> = T extends Array<infer Item> ? Array<Some<Item>> : T extends object ? { [K in keyof T]?: Some<T[K]> } : T;

interface Target {
  refId: string;
  expr: string;
  datasource: { type: 'prometheus'; uid: '${datasource}' };
  format: 'table' | 'time_series';
  instant: boolean;
  range: boolean;
  legendFormat?: string;
}

type PanelOf<Kind extends string, Options, Custom> = Omit<Panel, 'type' | 'options' | 'targets' | 'fieldConfig'> & {
  type: Kind;
  title: string;
  description: string;
  datasource: { type: 'prometheus'; uid: '${datasource}' };
  targets: Target[];
  options?: Some<Options>;
  fieldConfig: Omit<NonNullable<Panel['fieldConfig']>, 'defaults'> & {
    defaults: Omit<NonNullable<Panel['fieldConfig']>['defaults'], 'custom'> & { custom?: Some<Custom> };
  };
};

type AnyPanel =
  | PanelOf<'barchart', barchart.Options, barchart.FieldConfig>
  | PanelOf<'bargauge', bargauge.Options, never>
  | PanelOf<'stat', stat.Options, never>
  | PanelOf<'state-timeline', statetimeline.Options, statetimeline.FieldConfig>
  | PanelOf<'table', table.Options, table.FieldConfig>
  | PanelOf<'timeseries', timeseries.Options, timeseries.FieldConfig>;

export type Checked = Json<
  Omit<Dashboard, 'panels' | 'id'> & {
    __requires: Array<{ type: 'grafana' | 'datasource' | 'panel'; id: string; name: string; version: string }>;
    title: string;
    uid: string;
    description: string;
    panels: Array<RowPanel | AnyPanel>;
  }
>;
