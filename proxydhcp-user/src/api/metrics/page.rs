//! A page of metrics, family by family.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// What each name begins with.
const PREFIX: &str = "proxydhcp_";

/// The names and values of labels.
pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Families of metrics. One without a sample is left out.
#[derive(Default)]
pub(super) struct Page(Vec<MetricFamily>);

impl Page {
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [(Vec::new(), value)]);
    }

    pub(super) fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        let samples = samples.into_iter().map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = labelled(labels);
            metric.set_gauge(gauge);
            metric
        });
        self.add(name, help, MetricType::GAUGE, samples.collect());
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus' numbers are floating"
    )]
    pub(super) fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, u64)>,
    ) {
        let samples = samples.into_iter().map(|(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value as f64);
            let mut metric = labelled(labels);
            metric.set_counter(counter);
            metric
        });
        self.add(name, help, MetricType::COUNTER, samples.collect());
    }

    fn add(&mut self, name: &str, help: &str, kind: MetricType, samples: Vec<Metric>) {
        if samples.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(format!("{PREFIX}{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(samples);
        self.0.push(family);
    }

    pub(super) fn families(self) -> Vec<MetricFamily> {
        self.0
    }
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pairs = labels.into_iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}
