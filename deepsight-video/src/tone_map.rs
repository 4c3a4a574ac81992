//! From high dynamic range to the standard one, with filters of ffmpeg.

use crate::Note;

/// How a video or picture stores colors. The names are those of ffmpeg.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Colors {
    /// Whether values go from 0 to 255 rather than from 16 to 235.
    pub(crate) full_range: bool,
    pub(crate) matrix: Option<String>,
    pub(crate) transfer: Option<String>,
    pub(crate) primaries: Option<String>,
}

/// A conversion from high dynamic range to the standard one (BT.709). Values up to about 70 % of a white of 100 cd/m²
/// stay as they are, and the highlights above are compressed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ToneMap {
    transfer: Transfer,
    matrix: &'static str,
    primaries: &'static str,
    range: &'static str,
    filters: Filters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transfer {
    /// SMPTE ST 2084, called PQ.
    Pq,
    /// ARIB STD-B67, called HLG.
    Hlg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filters {
    /// `zscale` and `tonemap`, which compute in floating point.
    Zscale,
    /// `lutrgb` and `colorchannelmixer`, which every ffmpeg has unless they were switched off.
    Tables,
}

/// Linear light of 1 is a white of 100 cd/m². The tables cut off at 1000 cd/m², the peak of HLG.
const PEAK: f64 = 10.0;
/// Linear light up to which nothing is compressed.
const KNEE: f64 = 0.7;

impl ToneMap {
    /// Returns the conversion of these colors, if their range is high. `has_filters` says whether the ffmpeg at hand
    /// has filters. Without those for the conversion, the error says what is not done.
    pub(crate) fn of(colors: &Colors, has_filters: impl Fn(&[&str]) -> bool) -> Result<Option<Self>, Note> {
        let (transfer, name) = match colors.transfer.as_deref() {
            Some(name @ "smpte2084") => (Transfer::Pq, name),
            Some(name @ "arib-std-b67") => (Transfer::Hlg, name),
            _ => return Ok(None),
        };
        // What the file does not say is as in nearly all files of high dynamic range.
        let matrix = match colors.matrix.as_deref() {
            Some("gbr") => "gbr",
            Some("bt709") => "709",
            Some("bt2020c") => "2020_cl",
            _ => "2020_ncl",
        };
        let primaries = match colors.primaries.as_deref() {
            Some("bt709") => "709",
            Some("smpte432") => "smpte432",
            _ => "2020",
        };
        let range = if colors.full_range { "pc" } else { "tv" };
        let filters = if has_filters(&["zscale", "tonemap"]) {
            Filters::Zscale
        // swscale does not know the matrix of constant luminance.
        } else if matrix != "2020_cl" && has_filters(&["lutrgb", "colorchannelmixer"]) {
            Filters::Tables
        } else {
            return Err(Note::NotToneMapped { transfer: name.into() });
        };
        Ok(Some(Self { transfer, matrix, primaries, range, filters }))
    }

    /// Returns the filters, without a comma at the end.
    pub(crate) fn filters(&self) -> String {
        match self.filters {
            Filters::Zscale => self.zscale(),
            Filters::Tables => self.tables(),
        }
    }

    fn zscale(&self) -> String {
        let Self { matrix, primaries, range, .. } = self;
        let transfer = match self.transfer {
            Transfer::Pq => "smpte2084",
            Transfer::Hlg => "arib-std-b67",
        };
        format!(
            "format=yuv444p12le,zscale=tin={transfer}:min={matrix}:pin={primaries}:rin={range}:t=linear:npl=100,\
             format=gbrpf32le,zscale=p=bt709,tonemap=mobius:param={KNEE}:desat=0,zscale=t=bt709:m=bt709:r=tv,\
             format=yuv444p"
        )
    }

    /// The same with tables of 16 bits: each channel to linear light, the primaries' matrix, and each channel to
    /// BT.709.
    /// Highlights are compressed in each channel alone, so that bright colors pale a little.
    fn tables(&self) -> String {
        let matrix = match self.matrix {
            "gbr" => "",
            "709" => "in_color_matrix=bt709:",
            _ => "in_color_matrix=bt2020:",
        };
        let range = self.range;
        let linear = table(&format!("maxval*min({}/{PEAK:?},1)", self.transfer.linear()));
        let shown = table(&format!("maxval*pow({},1/2.4)", compressed(&format!("(val/maxval*{PEAK:?})"))));
        // Rows are red, green and blue of BT.709.
        let primaries = match self.primaries {
            "709" => String::new(),
            "smpte432" => {
                mixer([[1.224_94, -0.224_94, 0.0], [-0.042_06, 1.042_06, 0.0], [-0.019_64, -0.078_64, 1.098_28]])
            }
            _ => mixer([
                [1.660_491, -0.587_641, -0.072_850],
                [-0.124_550, 1.132_900, -0.008_349],
                [-0.018_151, -0.100_579, 1.118_730],
            ]),
        };
        format!(
            "scale={matrix}in_range={range}:out_range=pc:flags=bicubic+accurate_rnd+full_chroma_inp+full_chroma_int,\
             format=gbrp16le,{linear}{primaries},{shown}"
        )
    }
}

impl Transfer {
    /// Returns the expression for linear light of a channel.
    fn linear(self) -> &'static str {
        match self {
            // ITU-R BT.2100, table 4.
            Self::Pq => {
                "(100*pow(max(st(0,pow(val/maxval,1/78.84375))-0.8359375,0)/(18.8515625-18.6875*ld(0)),\
                 1/0.1593017578125))"
            }
            // ITU-R BT.2100, table 5, for 1000 cd/m². The gamma of 1.2 is applied to each channel, as zscale does.
            Self::Hlg => {
                "(10*pow(if(lte(st(0,val/maxval),0.5),ld(0)*ld(0)/3,\
                 (exp((ld(0)-0.55991073)/0.17883277)+0.28466892)/12),1.2))"
            }
        }
    }
}

/// One table for all channels.
fn table(expression: &str) -> String {
    format!("lutrgb=r='{expression}':g='{expression}':b='{expression}'")
}

fn mixer(rows: [[f64; 3]; 3]) -> String {
    let channels = ["r", "g", "b"];
    let terms = channels
        .iter()
        .zip(rows)
        .flat_map(|(to, row)| channels.iter().zip(row).map(move |(from, weight)| format!("{to}{from}={weight:?}")));
    format!(",colorchannelmixer={}", terms.collect::<Vec<_>>().join(":"))
}

/// Returns the expression for light whose highlights are compressed as by `tonemap=mobius`: up to the knee as it is,
/// then on a curve that begins with the same slope and reaches 1 at the peak.
fn compressed(light: &str) -> String {
    let a = -KNEE * KNEE * (PEAK - 1.0) / (KNEE * KNEE - 2.0 * KNEE + PEAK);
    let b = (KNEE * KNEE - 2.0 * KNEE * PEAK + PEAK) / (PEAK - 1.0);
    let scale = (b * b + 2.0 * b * KNEE + KNEE * KNEE) / (b - a);
    format!("if(lte({light},{KNEE:?}),{light},{scale:?}*({light}+{a:?})/({light}+{b:?}))")
}
