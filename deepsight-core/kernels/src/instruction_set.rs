use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use super::portable::Portable;
use super::simd::{Kernel, Simd};
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};

/// An instruction set for the kernels. A value exists only if this processor has the instructions.
///
/// ```
/// use deepsight_kernels::InstructionSet;
///
/// let best = InstructionSet::best();
/// assert!(InstructionSet::available().contains(&best));
/// assert_eq!("portable".parse::<InstructionSet>()?.lanes(), 4);
/// # Ok::<(), deepsight_kernels::UnknownInstructionSet>(())
/// ```
#[derive(Clone, Copy)]
pub struct InstructionSet(Token);

/// The error for an instruction set that does not exist, or that this processor or build does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownInstructionSet {
    /// The environment variable that the name comes from, if it comes from one.
    pub variable: Option<&'static str>,
    /// The given name.
    pub name: String,
    /// The names of the instruction sets that can be used.
    pub available: String,
}

impl fmt::Display for UnknownInstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable, name, available } = self;
        match variable {
            Some(variable) => write!(f, "{variable} is {name:?}")?,
            None => write!(f, "instruction set {name:?} cannot be used")?,
        }
        write!(f, ": this processor and build have {available}")
    }
}

impl std::error::Error for UnknownInstructionSet {}

/// Each variant's content proves that the processor has the instructions.
#[derive(Clone, Copy)]
enum Token {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable(Portable),
}

impl InstructionSet {
    /// The environment variable that forces an instruction set: `avx512`, `avx2` or `portable`.
    pub const VARIABLE: &'static str = "DEEPSIGHT_CPU";

    /// Returns the instruction sets of this processor, the fastest first. The last one, `portable`, is always
    /// available.
    pub fn available() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            sets.extend(Avx512::detect().map(|token| Self(Token::Avx512(token))));
            sets.extend(Avx2::detect().map(|token| Self(Token::Avx2(token))));
        }
        sets.push(Self(Token::Portable(Portable)));
        sets
    }

    /// Returns the fastest instruction set of this processor.
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// Returns the instruction set that the environment variable [`VARIABLE`](Self::VARIABLE) names, or the fastest one
    /// if the variable is unset or empty.
    ///
    /// # Errors
    /// Returns an error if the variable names no instruction set that this processor has.
    pub fn from_environment() -> Result<Self, UnknownInstructionSet> {
        Self::from_variable(std::env::var_os(Self::VARIABLE))
    }

    fn from_variable(value: Option<OsString>) -> Result<Self, UnknownInstructionSet> {
        match value.filter(|name| !name.is_empty()) {
            Some(name) => Self::named(&name.to_string_lossy(), Some(Self::VARIABLE)),
            None => Ok(Self::best()),
        }
    }

    fn named(name: &str, variable: Option<&'static str>) -> Result<Self, UnknownInstructionSet> {
        Self::available().into_iter().find(|set| set.name() == name).ok_or_else(|| UnknownInstructionSet {
            variable,
            name: name.into(),
            available: Self::available().iter().map(|set| set.name()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Returns the name: `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => "avx2",
            Token::Portable(_) => "portable",
        }
    }

    /// Returns the number of `f32` values in a vector.
    pub fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => Avx2::LANES,
            Token::Portable(_) => Portable::LANES,
        }
    }

    /// Runs a kernel with these instructions.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(simd) => simd.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(simd) => simd.vectorize(kernel),
            Token::Portable(simd) => simd.vectorize(kernel),
        }
    }
}

impl FromStr for InstructionSet {
    type Err = UnknownInstructionSet;

    fn from_str(name: &str) -> Result<Self, UnknownInstructionSet> {
        Self::named(name, None)
    }
}

impl PartialEq for InstructionSet {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for InstructionSet {}

impl fmt::Debug for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_variable_forces_an_instruction_set_by_its_name() {
        for set in InstructionSet::available() {
            assert_eq!(InstructionSet::from_variable(Some(set.name().into())).unwrap(), set);
        }
    }

    #[test]
    fn without_the_variable_or_with_an_empty_one_the_fastest_is_chosen() {
        for value in [None, Some(OsString::new())] {
            assert_eq!(InstructionSet::from_variable(value).unwrap(), InstructionSet::best());
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_its_source_and_the_available_sets() {
        let names: Vec<_> = InstructionSet::available().iter().map(|set| set.name()).collect();
        let have = format!("this processor and build have {}", names.join(", "));
        for name in ["avx9", "AVX2", " portable", "portable\n"] {
            let of_variable = InstructionSet::from_variable(Some(name.into())).unwrap_err().to_string();
            assert_eq!(of_variable, format!("DEEPSIGHT_CPU is {name:?}: {have}"));
            let given = name.parse::<InstructionSet>().unwrap_err().to_string();
            assert_eq!(given, format!("instruction set {name:?} cannot be used: {have}"));
        }
        assert!("".parse::<InstructionSet>().is_err(), "only the variable may be empty");
    }
}
