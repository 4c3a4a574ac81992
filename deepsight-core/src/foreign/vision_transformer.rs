//! Import of vision transformers that other programs saved.

use std::collections::BTreeMap;

use burn::tensor::backend::Backend;

use super::efficientnet::classifier_tensor;
use super::source::{Source, Tensors};
use super::transformer_names::{Target, beside, of_open_clip, of_timm, of_transformers};
use super::{Candidate, HeadWeights, Naming};
use crate::Error;
use crate::state_dict::{StateDict, Weight, check_shapes};
use crate::vision_transformer::positions::PositionResize;
use crate::vision_transformer::{Head, MlpActivation, TransformerSize, VisionTransformer, VisionTransformerConfig};

/// Settings of a vision transformer that its weights do not show.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct TransformerChoice {
    /// The network, by timm's name. Without it, the shape is that of the tensors.
    pub network: Option<VisionTransformerConfig>,
    /// The activation. Without it, that of the network; GELU for DINOv2.
    pub activation: Option<MlpActivation>,
    /// The activation of CLIP if nothing else decides it.
    pub clip_activation: Option<MlpActivation>,
    /// The input of the head; [`Head::Linear`] by default.
    pub head: Option<Head>,
    /// Side of the input in pixels, a multiple of the patch size. Without it, the size for which the weights have
    /// positions. If it is another, the positions are interpolated as the library does that saved the weights.
    pub input_size: Option<u32>,
    /// The same for DINOv2 if nothing else decides it. Its weights have positions for 518 pixels, and projects use
    /// fewer.
    pub dinov2_input_size: Option<u32>,
}

/// Evidence of an error: a project's networks are known.
const ORIGIN: &str = "what the origin's models have (`activation` decides)";
const HEAD_WEIGHT: &str = "head.weight";
const HEAD_BIAS: &str = "head.bias";
const POSITIONS: &str = "pos_embed";
const QKV_PARTS: usize = 3;
/// Largest number of patches along a side for which a file may have positions.
const MAX_PATCHES: usize = 64;
/// Widths, depths and numbers of heads of networks of open_clip whose heads do not have 64 values: g/14 and bigG/14.
const OTHER_HEADS: [(usize, usize, usize); 2] = [(1408, 40, 16), (1664, 48, 16)];
/// Largest number of inputs of a head.
const MAX_EMBEDDING: usize = 16384;

/// The tensors of a file from which one tensor of the network is computed.
#[derive(Debug, Clone)]
enum Recipe {
    /// One tensor, in another shape.
    Own(String),
    /// Several, one below the other.
    Stack(Vec<Option<Recipe>>),
    /// `main + U · diag(S) · V`, as in Effort (Yan et al., ICML 2025), which trains only the last three.
    Split { main: String, s: String, u: String, v: String },
}

impl Recipe {
    /// Returns the shape of the result.
    ///
    /// # Errors
    /// Returns an error if the shapes of the parts do not fit to each other, or if a part is missing.
    fn shape(&self, found: &BTreeMap<String, Vec<usize>>) -> Result<Vec<usize>, Error> {
        match self {
            Self::Own(name) => Ok(found[name].clone()),
            Self::Stack(parts) => {
                let mut shapes = Vec::new();
                for part in parts {
                    let part = part.as_ref().ok_or(Error::TensorNames { missing: vec![], unexpected: vec![] })?;
                    shapes.push((part.name(), part.shape(found)?));
                }
                let Some((_, first)) = shapes.first().cloned() else { return Ok(vec![]) };
                for (name, shape) in shapes {
                    require_shape(name, &shape, &first)?;
                }
                let rows = first.first().copied().unwrap_or_default().saturating_mul(parts.len());
                Ok([&[rows], &first[1.min(first.len())..]].concat())
            }
            Self::Split { main, s, u, v } => {
                let shape = &found[main];
                let (Some(&rank), &[rows, columns]) = (found[s].first(), shape.as_slice()) else {
                    return Err(shape_error(main, shape, &[1, 1]));
                };
                // The rank in a malformed file could ask for any amount of memory.
                let rank = rank.min(rows.max(columns));
                require_shape(s, &found[s], &[rank])?;
                require_shape(u, &found[u], &[rows, rank])?;
                require_shape(v, &found[v], &[rank, columns])?;
                Ok(shape.clone())
            }
        }
    }

    /// Returns the name of a tensor of it, for messages.
    fn name(&self) -> &str {
        match self {
            Self::Own(name) => name,
            Self::Stack(parts) => parts.iter().flatten().map(Self::name).next().unwrap_or_default(),
            Self::Split { main, .. } => main,
        }
    }

    /// Computes the tensor. The shapes must have been checked.
    fn read(&self, tensors: &Tensors<'_, '_>) -> Result<Weight, Error> {
        match self {
            Self::Own(name) => tensors.weight(name),
            Self::Stack(parts) => {
                let parts: Result<Vec<_>, _> = parts.iter().flatten().map(|part| part.read(tensors)).collect();
                let parts = parts?;
                let mut shape = parts.first().map(|part| part.shape.clone()).unwrap_or_default();
                if let Some(rows) = shape.first_mut() {
                    *rows *= parts.len();
                }
                Ok(Weight { shape, values: parts.into_iter().flat_map(|part| part.values).collect() })
            }
            Self::Split { main, s, u, v } => {
                let (mut main, s) = (tensors.weight(main)?, tensors.weight(s)?.values);
                let (u, v) = (tensors.weight(u)?.values, tensors.weight(v)?.values);
                let columns = main.shape[1];
                for (row, u) in main.values.chunks_exact_mut(columns).zip(u.chunks_exact(s.len().max(1))) {
                    for ((u, s), v) in u.iter().zip(&s).zip(v.chunks_exact(columns)) {
                        row.iter_mut().zip(v).for_each(|(sum, v)| *sum += u * s * v);
                    }
                }
                Ok(main)
            }
        }
    }
}

fn shape_error(name: &str, found: &[usize], expected: &[usize]) -> Error {
    Error::TensorShape { name: name.into(), found: found.into(), expected: expected.into() }
}

fn require_shape(name: &str, found: &[usize], expected: &[usize]) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(shape_error(name, found, expected)) }
}

/// The tensors of a vision transformer in a file, by timm's names.
pub(crate) struct Contents {
    found: BTreeMap<String, Vec<usize>>,
    recipes: BTreeMap<String, Recipe>,
    /// The projection to CLIP's embedding, and whether it is transposed.
    projection: Option<(Recipe, bool)>,
    /// Tensors that do not belong to the network.
    unexpected: Vec<String>,
    naming: Naming,
    /// Whether a linear layer is divided as in Effort.
    is_split: bool,
    /// Whether the names are those of `CLIPForImageClassification`, whose head does not read the class token.
    is_mean_pooled: bool,
}

impl Contents {
    /// Finds the tensors of a network.
    pub(crate) fn new(candidate: &Candidate, tensors: &Tensors<'_, '_>) -> Self {
        let found = tensors.shapes();
        let mut contents = Self {
            recipes: BTreeMap::new(),
            projection: None,
            unexpected: Vec::new(),
            naming: candidate.naming,
            is_split: false,
            is_mean_pooled: false,
            found,
        };
        // Found first: the head may be part of the network, or of the module that holds it, which then is in use.
        let (mut inner, mut outer) = (BTreeMap::new(), BTreeMap::new());
        for (name, recipe) in contents.layers() {
            let own = recipe.name().to_owned();
            if let Some(inside) = name.strip_prefix(candidate.prefix.as_str()) {
                if let Some(part) = head_tensor(inside) {
                    inner.insert(part, recipe);
                    continue;
                }
                let target = match candidate.naming {
                    Naming::Transformers => of_transformers(inside),
                    Naming::OpenClip => of_open_clip(inside),
                    Naming::Timm | Naming::EfficientNetPytorch => of_timm(inside),
                };
                contents.put(target, recipe, own);
                continue;
            }
            let parents = candidate.prefix.char_indices().filter(|(_, letter)| *letter == '.');
            let parents: Vec<&str> = parents.map(|(at, _)| &candidate.prefix[..=at]).chain([""]).collect();
            let relative = || parents.iter().filter_map(|parent| name.strip_prefix(parent));
            contents.is_mean_pooled |=
                candidate.naming == Naming::Transformers && relative().any(|name| name == "classifier.weight");
            match relative().find_map(head_tensor) {
                Some(part) if !outer.contains_key(part) => drop(outer.insert(part, recipe)),
                _ => contents.put(relative().find_map(beside), recipe, own),
            }
        }
        let used = if outer.contains_key("weight") { outer } else { inner };
        contents.recipes.extend(used.into_iter().map(|(part, recipe)| (format!("head.{part}"), recipe)));
        contents
    }

    /// Returns the layers' tensors, those that are divided as in Effort put together.
    fn layers(&mut self) -> BTreeMap<String, Recipe> {
        let mut layers = BTreeMap::new();
        for name in self.found.keys() {
            if let Some(layer) = name.strip_suffix(".weight_main") {
                let [s, u, v] = ["S_residual", "U_residual", "V_residual"].map(|part| format!("{layer}.{part}"));
                let is_split = [&s, &u, &v].iter().all(|part| self.found.contains_key(*part));
                let recipe =
                    if is_split { Recipe::Split { main: name.clone(), s, u, v } } else { Recipe::Own(name.clone()) };
                layers.insert(format!("{layer}.weight"), recipe);
                self.is_split = true;
            }
        }
        let is_complete = |layer: &str| matches!(layers.get(&format!("{layer}.weight")), Some(Recipe::Split { .. }));
        // The last three also have the part of the main weight that training keeps.
        const PARTS: [&str; 6] = ["S_residual", "U_residual", "V_residual", "S_r", "U_r", "V_r"];
        let mut others = Vec::new();
        for name in self.found.keys() {
            let is_part = name
                .rsplit_once('.')
                .is_some_and(|(layer, part)| part == "weight_main" || PARTS.contains(&part) && is_complete(layer));
            if !is_part {
                // A whole weight beside a divided one does not belong to the network.
                let own = if layers.contains_key(name) { format!("{name}.whole") } else { name.clone() };
                others.push((own, Recipe::Own(name.clone())));
            }
        }
        layers.extend(others);
        layers
    }

    fn put(&mut self, target: Option<Target>, recipe: Recipe, own: String) {
        match target {
            Some(Target::Tensor(name)) => drop(self.recipes.insert(name, recipe)),
            Some(Target::Third(name, number)) => {
                let stack = self.recipes.entry(name).or_insert_with(|| Recipe::Stack(vec![None; QKV_PARTS]));
                if let Recipe::Stack(parts) = stack {
                    parts[number] = Some(recipe);
                }
            }
            Some(Target::Projection) => self.projection = Some((recipe, false)),
            Some(Target::TransposedProjection) => self.projection = Some((recipe, true)),
            Some(Target::Unused) => {}
            None => self.unexpected.push(own),
        }
    }

    /// Returns whether linear layers are divided as in Effort.
    pub(crate) fn is_split(&self) -> bool {
        self.is_split
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>, Error> {
        match self.recipes.get(name) {
            Some(recipe) => recipe.shape(&self.found),
            None => Err(Error::TensorNames { missing: vec![name.into()], unexpected: vec![] }),
        }
    }

    /// Returns the number of patches along a side for which the file has positions, and whether the class token has
    /// one.
    fn positions(&self) -> Result<(usize, bool), Error> {
        let shape = self.shape(POSITIONS)?;
        let rows = if shape.len() < 2 { 0 } else { shape[shape.len() - 2] };
        let of = |patches: usize| {
            Some(patches.isqrt()).filter(|side| (1..=MAX_PATCHES).contains(side) && side * side == patches)
        };
        let with_class = rows.checked_sub(1).and_then(of).map(|side| (side, true));
        let found = with_class.or_else(|| of(rows).map(|side| (side, false)));
        found.ok_or_else(|| shape_error(POSITIONS, &shape, &[1, 1, 1]))
    }

    /// Returns the shape of the network.
    ///
    /// # Errors
    /// [`Error::TensorNames`] and [`Error::TensorShape`] if a tensor is missing that tells the shape,
    /// [`Error::UnsupportedNetwork`] for a vision transformer of neither CLIP nor DINOv2,
    /// [`Error::ActivationUnknown`] if nothing decides the activation, [`Error::OtherVariant`] if the choice
    /// contradicts the tensors or itself, and [`Error::Setting`] if the input size is not usable.
    pub(crate) fn config(&self, choice: &TransformerChoice) -> Result<VisionTransformerConfig, Error> {
        if self.is_mean_pooled {
            let network = "an image classifier of transformers, whose head gets the mean of the patches";
            return Err(Error::UnsupportedNetwork { network });
        }
        let kernel = self.shape("patch_embed.proj.weight")?;
        let &[width, 3, patch_size, _] = kernel.as_slice() else {
            return Err(shape_error("patch_embed.proj.weight", &kernel, &[1, 3, 1, 1]));
        };
        require_shape("patch_embed.proj.weight", &kernel, &[width, 3, patch_size, patch_size])?;
        let has = |name: &str| self.recipes.contains_key(name);
        let (pre_norm, layer_scale) = (has("norm_pre.weight"), has("blocks.0.ls1.gamma"));
        if pre_norm == layer_scale {
            let network = "a vision transformer that is neither CLIP's (a norm before the blocks) nor DINOv2's (layer \
                           scales)";
            return Err(Error::UnsupportedNetwork { network });
        }
        let blocks = self.recipes.keys().filter_map(|name| name.strip_prefix("blocks.")?.strip_suffix(".norm1.weight"));
        let depth = blocks.count();
        let (native, _) = self.positions()?;
        let patches = match choice.input_size.or(choice.dinov2_input_size.filter(|_| layer_scale)) {
            Some(side) => {
                let fits = patch_size > 0 && (side as usize).is_multiple_of(patch_size);
                Error::check("input_size", side, fits, "must be a multiple of the patch size of the network")?;
                side as usize / patch_size
            }
            None => native,
        };
        let size = TransformerSize::ALL.into_iter().find(|size| size.shape().0 == width && size.shape().1 == depth);
        let known = choice.network.as_ref().map(|network| network.heads).or(size.map(|size| size.shape().2));
        let other = OTHER_HEADS.into_iter().find(|other| (other.0, other.1) == (width, depth)).map(|other| other.2);
        // The other networks of CLIP and DINOv2 have heads of 64 values.
        let heads = known.or(other).unwrap_or((width / 64).max(1));
        let shape = |activation| VisionTransformerConfig {
            patch_size,
            patches,
            width,
            depth,
            heads,
            mlp_width: self.shape("blocks.0.mlp.fc1.bias").ok().and_then(|shape| shape.first().copied()).unwrap_or(0),
            registers: self.shape("reg_token").ok().and_then(|shape| shape.get(1).copied()).unwrap_or(0),
            patch_bias: has("patch_embed.proj.bias"),
            pre_norm,
            layer_scale,
            norm_epsilon: if layer_scale {
                crate::vision_transformer::config::DINO_EPSILON
            } else {
                crate::vision_transformer::config::CLIP_EPSILON
            },
            activation,
            head: choice.head.unwrap_or(Head::Linear),
            classes: 2,
        };
        shape(MlpActivation::Gelu).validate()?;
        let named = choice.network.as_ref().map(|network| network.activation);
        if let (Some(network), Some(origin), None) = (&choice.network, choice.clip_activation, choice.activation)
            && pre_norm
            && network.activation != origin
        {
            let found = shape(origin).to_string();
            return Err(Error::OtherVariant { evidence: ORIGIN.into(), found, wanted: network.to_string() });
        }
        let decided = choice.activation.or(named).or(layer_scale.then_some(MlpActivation::Gelu));
        let Some(activation) = decided.or(choice.clip_activation) else {
            return Err(Error::ActivationUnknown { network: shape(MlpActivation::Gelu).to_string() });
        };
        let config = shape(activation);
        if let Some(network) = &choice.network {
            // The name of a network of DINOv2 is the same for every size of its input.
            let patches = if choice.input_size.is_some() || layer_scale { patches } else { network.patches };
            let asked = VisionTransformerConfig { patches, head: config.head, ..network.clone() };
            if asked != config {
                let evidence = "the shape of the tensors, or the activation,".to_owned();
                let (found, wanted) = (config.to_string(), network.to_string());
                return Err(Error::OtherVariant { evidence, found, wanted });
            }
        }
        Ok(config)
    }

    /// Reads the weights for a network.
    ///
    /// # Errors
    /// [`Error::TensorNames`], [`Error::TensorShape`] and [`Error::TensorType`] with the first tensor that is wrong,
    /// and [`Error::HeadMissing`] if neither the file has a head nor `head` is given.
    pub(crate) fn read<B: Backend>(
        &self,
        tensors: &Tensors<'_, '_>,
        head: Option<&HeadWeights>,
        network: &VisionTransformer<B>,
    ) -> Result<StateDict, Error> {
        let expected = network.state_shapes();
        let mut body = expected.clone();
        body.retain(|name, _| !name.starts_with("head."));
        let mut shapes = BTreeMap::new();
        for (name, recipe) in self.recipes.iter().filter(|(name, _)| !name.starts_with("head.")) {
            let missing = |error| match error {
                Error::TensorNames { .. } => Error::TensorNames {
                    missing: vec![format!("queries, keys or values of {name}")],
                    unexpected: vec![],
                },
                other => other,
            };
            let shape = recipe.shape(&self.found).map_err(missing)?;
            let same_count = |expected: &&Vec<usize>| {
                // Libraries differ in dimensions of length 1 only.
                let long = |shape: &[usize]| shape.iter().copied().filter(|length| *length != 1).collect::<Vec<_>>();
                long(expected) == long(&shape)
            };
            let shape = match expected.get(name).filter(same_count) {
                Some(expected) => expected.clone(),
                None => shape,
            };
            shapes.insert(name.clone(), shape);
        }
        let (native, with_class) = self.positions()?;
        let (rows, width) = (expected[POSITIONS][1], expected[POSITIONS][2]);
        let held = native * native + usize::from(with_class);
        if shapes[POSITIONS] == [1, held, width] || shapes[POSITIONS] == [held, width] {
            shapes.insert(POSITIONS.into(), expected[POSITIONS].clone());
        }
        shapes.extend(self.unexpected.iter().map(|name| (name.clone(), self.found[name].clone())));
        check_shapes(&body, &shapes)?;
        let mut weights = StateDict::new();
        for (name, recipe) in self.recipes.iter().filter(|(name, _)| !name.starts_with("head.")) {
            let mut weight = recipe.read(tensors)?;
            if name == POSITIONS {
                weight.values = self.resized(&weight.values, native, with_class, rows, width);
            }
            weight.shape.clone_from(&expected[name]);
            weights.insert(name.clone(), weight);
        }
        let classes = expected[HEAD_BIAS].first().copied().unwrap_or_default();
        self.read_head(tensors, head, network.is_cosine, [classes, width], &mut weights)?;
        Ok(weights)
    }

    /// Returns the positions of the class token and of all patches.
    fn resized(&self, values: &[f32], native: usize, with_class: bool, rows: usize, width: usize) -> Vec<f32> {
        let (class, grid) = if with_class { values.split_at(width) } else { (&[][..], values) };
        let resize = match self.naming {
            Naming::Transformers if !self.recipes.contains_key("reg_token") => PositionResize::Plain,
            _ => PositionResize::Smooth,
        };
        // The class token of networks with registers in timm has no position of its own: it is part of the token.
        let mut positions = if with_class { class.to_vec() } else { vec![0.0; width] };
        positions.extend(resize.resize(grid, native, (rows - 1).isqrt(), width));
        positions
    }

    /// Reads the head as a linear layer from the features to the logits.
    fn read_head(
        &self,
        tensors: &Tensors<'_, '_>,
        given: Option<&HeadWeights>,
        is_cosine: bool,
        [classes, width]: [usize; 2],
        weights: &mut StateDict,
    ) -> Result<(), Error> {
        let shape = match given {
            Some(head) => head.weight.shape.clone(),
            None if !self.recipes.contains_key(HEAD_WEIGHT) => return Err(Error::HeadMissing),
            None => self.shape(HEAD_WEIGHT)?,
        };
        let &[outputs, inputs @ 1..=MAX_EMBEDDING] = shape.as_slice() else {
            return Err(shape_error(HEAD_WEIGHT, &shape, &[classes, width]));
        };
        // One logit z becomes the two logits 0 and z.
        let is_single = outputs == 1 && classes == 2;
        let rows = if is_single { 1 } else { classes };
        let projection = match &self.projection {
            Some((recipe, is_transposed)) if inputs != width && !is_cosine => {
                let expected = if *is_transposed { [width, inputs] } else { [inputs, width] };
                require_shape(recipe.name(), &recipe.shape(&self.found)?, &expected)?;
                Some((recipe.read(tensors)?, *is_transposed))
            }
            Some(_) if !is_cosine => {
                let network =
                    "a head that fits both the features and CLIP's embedding of them, which have the same length";
                return Err(Error::UnsupportedNetwork { network });
            }
            _ => None,
        };
        let needed = if projection.is_some() { inputs } else { width };
        require_shape(HEAD_WEIGHT, &shape, &[rows, needed])?;
        let (mut weight, bias) = match given {
            Some(head) => (head.weight.clone(), head.bias.clone()),
            None => {
                let bias = self.recipes.get(HEAD_BIAS).map(|bias| {
                    require_shape(HEAD_BIAS, &bias.shape(&self.found)?, &[rows])?;
                    bias.read(tensors)
                });
                (self.recipes[HEAD_WEIGHT].read(tensors)?, bias.transpose()?)
            }
        };
        let mut bias = bias.unwrap_or_else(|| Weight { shape: vec![rows], values: vec![0.0; rows] });
        require_shape(HEAD_BIAS, &bias.shape, &[rows])?;
        if let Some((projection, is_transposed)) = projection {
            weight = folded(&weight, &projection, is_transposed, width);
        }
        if is_single {
            weight.values.splice(0..0, vec![0.0; width]);
            bias.values.insert(0, 0.0);
        }
        (weight.shape, bias.shape) = (vec![classes, width], vec![classes]);
        weights.insert(HEAD_WEIGHT.into(), weight);
        weights.insert(HEAD_BIAS.into(), bias);
        Ok(())
    }
}

/// Computes the product of a head, `[classes, embedding]`, and the projection before it, in double precision.
fn folded(head: &Weight, projection: &Weight, is_transposed: bool, width: usize) -> Weight {
    let (classes, embedding) = (head.shape[0], head.shape[1]);
    let element = |row: usize, column: usize| match is_transposed {
        true => projection.values[column * embedding + row],
        false => projection.values[row * width + column],
    };
    let mut values = Vec::with_capacity(classes * width);
    for head in head.values.chunks_exact(embedding) {
        for column in 0..width {
            let terms = head.iter().enumerate().map(|(row, value)| f64::from(*value) * f64::from(element(row, column)));
            values.push(terms.sum::<f64>() as f32);
        }
    }
    Weight { shape: vec![classes, width], values }
}

/// Returns `weight` or `bias` if the name is that of a head's tensor. In GenD the head is the module `model.linear`.
fn head_tensor(name: &str) -> Option<&'static str> {
    let tensor = match name {
        "model.linear.weight" | "linear.weight" => "weight",
        "model.linear.bias" | "linear.bias" => "bias",
        name => classifier_tensor(name)?,
    };
    Some(if tensor == "weight" { "weight" } else { "bias" })
}

/// Reads a linear layer from a file of its own. `source_name` names it in messages.
pub(crate) fn head_of(bytes: &[u8], source_name: String) -> Result<HeadWeights, Error> {
    /// Largest numbers of outputs and inputs of a head.
    const LIMITS: [usize; 2] = [1024, MAX_EMBEDDING];
    let source = Source::open(bytes)?;
    let tensors = source.tensors(0)?;
    let shapes = tensors.shapes();
    let is_part = |name: &str, part: &str| {
        name == part
            || (0..name.len())
                .filter(|at| name.is_char_boundary(*at) && (*at == 0 || name[..*at].ends_with('.')))
                .any(|at| head_tensor(&name[at..]) == Some(if part == "weight" { "weight" } else { "bias" }))
    };
    let find = |part: &str| shapes.keys().find(|name| is_part(name, part)).cloned();
    let Some(name) = find("weight") else {
        return Err(Error::TensorNames { missing: vec!["weight".into()], unexpected: shapes.into_keys().collect() });
    };
    let shape = &shapes[&name];
    if shape.len() != 2 || shape.iter().zip(LIMITS).any(|(length, limit)| !(1..=limit).contains(length)) {
        return Err(shape_error(&name, shape, &[2, 1]));
    }
    let bias = find("bias").map(|bias| {
        require_shape(&bias, &shapes[&bias], &shape[..1])?;
        tensors.weight(&bias)
    });
    Ok(HeadWeights { source: source_name, weight: tensors.weight(&name)?, bias: bias.transpose()? })
}
