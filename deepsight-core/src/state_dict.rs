//! Named tensors in host memory, and those of a network.

use std::borrow::Cow;
use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use crate::Error;

/// A network's parameters and batch-norm statistics by timm's names, such as `blocks.0.0.conv_dw.weight`.
pub type StateDict = BTreeMap<String, Weight>;

/// One named tensor in host memory, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Length of each dimension.
    pub shape: Vec<usize>,
    /// The values. Their number is the product of the dimensions.
    pub values: Vec<f32>,
}

impl Weight {
    /// Checks that the number of values is the product of the dimensions.
    pub(crate) fn check_length(&self, name: &str) -> Result<(), Error> {
        let elements = self.shape.iter().try_fold(1_usize, |count, length| count.checked_mul(*length));
        if elements == Some(self.values.len()) {
            return Ok(());
        }
        Err(Error::TensorShape { name: name.into(), found: vec![self.values.len()], expected: self.shape.clone() })
    }
}

/// The tensors of a network, in memory or in a file.
pub(crate) trait Tensors: Sync {
    /// Returns the shape of every tensor, by name.
    fn shapes(&self) -> BTreeMap<&str, &[usize]>;

    /// Returns the values of a tensor, row-major.
    ///
    /// # Errors
    /// An error if they cannot be read, or if their number does not match the shape.
    ///
    /// # Panics
    /// Panics if there is no tensor of that name.
    fn values(&self, name: &str) -> Result<Cow<'_, [f32]>, Error>;
}

impl Tensors for StateDict {
    fn shapes(&self) -> BTreeMap<&str, &[usize]> {
        self.iter().map(|(name, weight)| (name.as_str(), &weight.shape[..])).collect()
    }

    fn values(&self, name: &str) -> Result<Cow<'_, [f32]>, Error> {
        let weight = &self[name];
        weight.check_length(name)?;
        Ok(Cow::Borrowed(&weight.values))
    }
}

/// Returns the shape of every tensor of a network, by name.
pub(crate) fn shapes<B: Backend>(network: &impl Module<B>) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = Shapes { path: Path::default(), found: BTreeMap::new() };
    network.visit(&mut shapes);
    shapes.found
}

/// Returns Burn's identifier of each tensor of a network, by name.
pub(crate) fn tensor_ids<B: Backend>(network: &impl Module<B>) -> BTreeMap<String, ParamId> {
    let mut ids = Ids { path: Path::default(), found: BTreeMap::new() };
    network.visit(&mut ids);
    ids.found
}

/// Returns the tensors of a network, by name.
pub(crate) fn collect<B: Backend>(network: &impl Module<B>) -> StateDict {
    let mut collector = Collector { path: Path::default(), found: StateDict::new() };
    network.visit(&mut collector);
    collector.found
}

/// Replaces the tensors of a network, which must have been checked ([`check`]).
pub(crate) fn load<B: Backend, M: Module<B>>(network: M, weights: StateDict) -> M {
    network.map(&mut Loader { path: Path::default(), weights })
}

/// Checks that the weights are exactly the expected tensors, in the expected shapes, and finite.
pub(crate) fn check(expected: &BTreeMap<String, Vec<usize>>, weights: &StateDict) -> Result<(), Error> {
    check_shapes(expected, &weights.iter().map(|(name, weight)| (name.clone(), weight.shape.clone())).collect())?;
    for (name, weight) in weights {
        weight.check_length(name)?;
        if let Some(index) = weight.values.iter().position(|value| !value.is_finite()) {
            return Err(Error::TensorNotFinite { name: name.clone(), index, value: weight.values[index] });
        }
    }
    Ok(())
}

/// Checks that exactly the expected tensors are present, in the expected shapes.
pub(crate) fn check_shapes(
    expected: &BTreeMap<String, Vec<usize>>,
    found: &BTreeMap<String, Vec<usize>>,
) -> Result<(), Error> {
    let missing: Vec<_> = expected.keys().filter(|name| !found.contains_key(*name)).cloned().collect();
    let unexpected: Vec<_> = found.keys().filter(|name| !expected.contains_key(*name)).cloned().collect();
    if !missing.is_empty() || !unexpected.is_empty() {
        return Err(Error::TensorNames { missing, unexpected });
    }
    match expected.iter().find(|(name, shape)| found[*name] != **shape) {
        Some((name, shape)) => {
            Err(Error::TensorShape { name: name.clone(), found: found[name].clone(), expected: shape.clone() })
        }
        None => Ok(()),
    }
}

/// The position of a visit to the modules, as a path of timm's names.
#[derive(Default)]
struct Path {
    names: Vec<String>,
    /// For each module entered, whether it is in `names` and whether it is a `Linear`.
    entered: Vec<Level>,
}

struct Level {
    named: bool,
    linear: bool,
}

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        // The variants of the block enum are not part of the names in the reference.
        let named = !container.starts_with("Enum:");
        if named {
            self.names.push(name.to_owned());
        }
        self.entered.push(Level { named, linear: container == "Struct:Linear" });
    }

    fn exit(&mut self) {
        if self.entered.pop().is_some_and(|level| level.named) {
            self.names.pop();
        }
    }

    fn name(&self) -> String {
        self.names.join(".")
    }

    /// Returns whether this tensor is stored transposed: PyTorch's linear weights are `[output, input]`, Burn's are
    /// `[input, output]`.
    fn transposed(&self, rank: usize) -> bool {
        rank == 2 && self.entered.iter().any(|level| level.linear)
    }
}

struct Shapes {
    path: Path,
    found: BTreeMap<String, Vec<usize>>,
}

impl<B: Backend> ModuleVisitor<B> for Shapes {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        // The lazy shape does not compute the random initial values, which are about to be replaced.
        let mut shape = param.lazy_shape().to_vec();
        if self.path.transposed(D) {
            shape.reverse();
        }
        self.found.insert(self.path.name(), shape);
    }
}

struct Ids {
    path: Path,
    found: BTreeMap<String, ParamId>,
}

impl<B: Backend> ModuleVisitor<B> for Ids {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.found.insert(self.path.name(), param.id);
    }
}

struct Collector {
    path: Path,
    found: StateDict,
}

impl<B: Backend> ModuleVisitor<B> for Collector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let tensor = if self.path.transposed(D) { param.val().transpose() } else { param.val() };
        let shape = tensor.dims().to_vec();
        let values = tensor.into_data().iter::<f32>().collect();
        self.found.insert(self.path.name(), Weight { shape, values });
    }
}

struct Loader {
    path: Path,
    weights: StateDict,
}

impl<B: Backend> ModuleMapper<B> for Loader {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        // `check` has verified that every name is present.
        let Some(weight) = self.weights.remove(&self.path.name()) else { return param };
        let weight = if self.path.transposed(D) { transposed(&weight) } else { weight };
        let tensor = Tensor::from_data(TensorData::new(weight.values, weight.shape), &param.lazy_device());
        // The parameter keeps its identifier: a new one would not be trained.
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}

/// Transposes a matrix in memory. With a transposed view, backends would add in another order, and a run resumed from a
/// file would differ from the one that was stopped.
fn transposed(weight: &Weight) -> Weight {
    let [rows, columns] = [weight.shape[0], weight.shape[1]];
    let values = (0..columns).flat_map(|column| (0..rows).map(move |row| weight.values[row * columns + column]));
    Weight { shape: vec![columns, rows], values: values.collect() }
}
