use image::RgbImage;

/// The crops of several faces, each of which has as many as the classifier needs. They are kept in columns, as
/// [`FaceClassifier::classify_crops`](crate::FaceClassifier::classify_crops) takes them: one list for each kind of
/// crop, with one crop of every face.
#[derive(Debug, Clone, Default)]
pub(super) struct Crops {
    columns: Vec<Vec<RgbImage>>,
}

impl Crops {
    /// Returns the number of faces.
    pub(super) fn len(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    /// Returns one list for each kind of crop.
    pub(super) fn columns(&self) -> &[Vec<RgbImage>] {
        &self.columns
    }

    /// Adds the crops of a face.
    pub(super) fn push(&mut self, of_face: Vec<RgbImage>) {
        self.append(Self { columns: of_face.into_iter().map(|crop| vec![crop]).collect() });
    }

    /// Adds faces with crops of the same kinds.
    pub(super) fn append(&mut self, more: Self) {
        if self.columns.is_empty() {
            *self = more;
            return;
        }
        for (column, more) in self.columns.iter_mut().zip(more.columns) {
            column.extend(more);
        }
    }

    /// Removes the faces from this position on, and returns them.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        Self { columns: self.columns.iter_mut().map(|column| column.split_off(at)).collect() }
    }

    /// Returns a copy of the crops of one face.
    pub(super) fn of(&self, face: usize) -> Self {
        Self { columns: self.columns.iter().map(|column| vec![column[face].clone()]).collect() }
    }

    /// Returns the first crop of each face, which reports show.
    pub(super) fn into_first(self) -> Vec<RgbImage> {
        self.columns.into_iter().next().unwrap_or_default()
    }
}
