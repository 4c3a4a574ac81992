//! Reads the pickles inside PyTorch checkpoints without running anything.
//!
//! Only the parts of a state dict are interpreted: dictionaries, tuples, lists, text, integers, storages and tensors.
//! Every other object (an optimizer's state, a namespace of arguments) becomes [`Node::Other`]. All nodes are in one
//! list and refer to each other by index, so shared, cyclic or deeply nested objects need neither copies nor stack.

/// Index of a node in the list of nodes.
pub(crate) type Id = usize;

/// One object of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Other,
    Int(i64),
    Text(String),
    /// A Python class or function, `module.name`.
    Global(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A buffer of elements of a type such as `FloatStorage`.
    Storage {
        key: String,
        kind: String,
    },
    /// A view into a storage; offset and strides in elements.
    Tensor {
        storage: Id,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    },
}

/// Limit on the number of objects. It is far above the objects in a state dict of the largest network, and low enough
/// to bound memory.
const MAX_NODES: usize = 1 << 20;
/// Limit on the number of instructions. It bounds the stack, which instructions that create no node can grow.
const MAX_STEPS: usize = 1 << 24;
/// Limit on the dimensions of a shape. With [`MAX_NAME`], it bounds what one instruction can copy.
const MAX_DIMENSIONS: usize = 8;
/// Limit on the length in bytes of a storage's key, a class's name or a tensor's name.
pub(super) const MAX_NAME: usize = 512;

/// The state of a pickle's reader.
pub(super) struct Pickle<'a> {
    input: &'a [u8],
    position: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
    /// Number of pairs copied from lists into dictionaries.
    copied: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the beginning of `input`. Returns its nodes, the root, and its length in bytes.
    pub(super) fn read(input: &'a [u8]) -> Result<(Vec<Node>, Id, usize), String> {
        let mut pickle =
            Self { input, position: 0, nodes: vec![], stack: vec![], marks: vec![], memo: vec![], copied: 0 };
        for _ in 0..MAX_STEPS {
            let code = pickle.byte()?;
            if code == b'.' {
                let root = pickle.pop()?;
                return Ok((pickle.nodes, root, pickle.position));
            }
            pickle.step(code).map_err(|reason| format!("{reason} at byte {} of the pickle", pickle.position))?;
        }
        Err(format!("more than {MAX_STEPS} instructions"))
    }

    fn step(&mut self, code: u8) -> Result<(), String> {
        match code {
            0x80 => self.skip(1),
            0x95 => self.skip(8),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.pop_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b'N' | 0x88 | 0x89 | 0x8f => self.push(Node::Other),
            b'I' | b'L' => {
                let line = self.line()?;
                let value = line.trim_end_matches('L').parse();
                self.push(value.map_or(Node::Other, Node::Int))
            }
            b'J' => self.array().and_then(|b| self.push(Node::Int(i32::from_le_bytes(b).into()))),
            b'K' => self.byte().and_then(|b| self.push(Node::Int(b.into()))),
            b'M' => self.array().and_then(|b| self.push(Node::Int(u16::from_le_bytes(b).into()))),
            0x8a => {
                let length = self.byte()?;
                self.long(length.into())
            }
            0x8b => {
                let length = u32::from_le_bytes(self.array()?);
                self.long(length as usize)
            }
            b'G' => self.skip(8).and_then(|()| self.push(Node::Other)),
            b'F' | b'P' => self.line().and_then(|_| self.push(Node::Other)),
            b'S' | b'V' => {
                let line = self.line()?;
                self.push(Node::Text(line.trim_matches(['\'', '"']).into()))
            }
            b'U' | 0x8c | b'C' => {
                let length = self.byte()?;
                self.text(length.into())
            }
            b'X' | b'T' | b'B' => {
                let length = u32::from_le_bytes(self.array()?);
                self.text(length as usize)
            }
            0x8d | 0x8e | 0x96 => {
                let length = u64::from_le_bytes(self.array()?);
                self.text(usize::try_from(length).map_err(|_| "a text is too long")?)
            }
            b')' => self.push(Node::Tuple(vec![])),
            0x85..=0x87 => {
                let start = self.below(usize::from(code - 0x84))?;
                let items = self.stack.split_off(start);
                self.push(Node::Tuple(items))
            }
            b't' => self.pop_mark().and_then(|items| self.push(Node::Tuple(items))),
            b']' => self.push(Node::List(vec![])),
            b'l' => self.pop_mark().and_then(|items| self.push(Node::List(items))),
            b'a' => self.pop().and_then(|item| self.append(vec![item])),
            b'e' => self.pop_mark().and_then(|items| self.append(items)),
            0x90 => self.pop_mark().map(drop),
            0x91 => self.pop_mark().and_then(|_| self.push(Node::Other)),
            b'}' => self.push(Node::Dict(vec![])),
            b'd' => {
                let items = self.pop_mark()?;
                self.push(Node::Dict(vec![]))?;
                self.set(&items)
            }
            b's' => {
                let start = self.below(2)?;
                let items = self.stack.split_off(start);
                self.set(&items)
            }
            b'u' => self.pop_mark().and_then(|items| self.set(&items)),
            b'c' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                self.push(Node::Global(name))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Node::Text(name), Node::Text(module)) = (&self.nodes[name], &self.nodes[module]) else {
                    return Err("a class without a name".into());
                };
                if name.len().max(module.len()) > MAX_NAME {
                    return Err("a class with an overlong name".into());
                }
                self.push(Node::Global(format!("{module}.{name}")))
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let node = self.call(callable, arguments);
                self.push(node)
            }
            // The object stays as it is: its additional state (such as a state dict's `_metadata`) is not needed.
            b'b' => self.pop().map(drop),
            0x81 => self.below(2).and_then(|start| self.replace_from(start)),
            0x92 => self.below(3).and_then(|start| self.replace_from(start)),
            b'i' => {
                self.line()?;
                self.line()?;
                self.pop_mark().and_then(|_| self.push(Node::Other))
            }
            b'o' => self.pop_mark().and_then(|_| self.push(Node::Other)),
            b'Q' => {
                let id = self.pop()?;
                let node = self.storage(id);
                self.push(node)
            }
            b'q' => self.byte().and_then(|slot| self.memorize(slot.into())),
            b'r' => self.array().and_then(|b| self.memorize(u32::from_le_bytes(b) as usize)),
            b'p' => {
                let slot = self.line()?.parse().map_err(|_| "a memo slot without a number")?;
                self.memorize(slot)
            }
            0x94 => self.memorize(self.memo.len()),
            b'h' => self.byte().and_then(|slot| self.recall(slot.into())),
            b'j' => self.array().and_then(|b| self.recall(u32::from_le_bytes(b) as usize)),
            b'g' => {
                let slot = self.line()?.parse().map_err(|_| "a memo slot without a number")?;
                self.recall(slot)
            }
            other => Err(format!("unknown instruction 0x{other:02x}")),
        }
    }

    /// Returns the result of a call, for the few callables that occur in a state dict.
    fn call(&mut self, callable: Id, arguments: Id) -> Node {
        let (Node::Global(name), Node::Tuple(arguments)) = (&self.nodes[callable], &self.nodes[arguments]) else {
            return Node::Other;
        };
        match (name.as_str(), arguments.as_slice()) {
            (
                "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor",
                [storage, offset, shape, strides, ..],
            ) => self.tensor(*storage, *offset, *shape, *strides).unwrap_or(Node::Other),
            ("torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", [tensor, ..]) => {
                match &self.nodes[*tensor] {
                    tensor @ Node::Tensor { .. } => tensor.clone(),
                    // Only tensors are small. A text or a list may be as long as the file, and a hostile file could
                    // make it be copied many times.
                    _ => Node::Other,
                }
            }
            ("collections.OrderedDict", [items]) => {
                let pairs = self.pairs(*items);
                self.copied += pairs.len();
                Node::Dict(pairs)
            }
            ("collections.OrderedDict", []) => Node::Dict(vec![]),
            _ => Node::Other,
        }
    }

    fn tensor(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Option<Node> {
        let Node::Storage { .. } = self.nodes[storage] else { return None };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        (shape.len() == strides.len()).then_some(())?;
        Some(Node::Tensor { storage, offset: self.size(offset)?, shape, strides })
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        let Node::Tuple(items) = &self.nodes[id] else { return None };
        (items.len() <= MAX_DIMENSIONS).then(|| items.iter().map(|item| self.size(*item)).collect())?
    }

    fn size(&self, id: Id) -> Option<usize> {
        match self.nodes[id] {
            Node::Int(value) => usize::try_from(value).ok(),
            _ => None,
        }
    }

    fn pairs(&self, list: Id) -> Vec<(Id, Id)> {
        let Node::List(items) = &self.nodes[list] else { return vec![] };
        let pair = |item: &Id| match &self.nodes[*item] {
            Node::Tuple(pair) | Node::List(pair) if pair.len() == 2 => Some((pair[0], pair[1])),
            _ => None,
        };
        items.iter().filter_map(pair).collect()
    }

    /// Reads a storage from PyTorch's persistent identifier, `('storage', torch.FloatStorage, key, location,
    /// elements)`.
    fn storage(&self, id: Id) -> Node {
        let Node::Tuple(items) = &self.nodes[id] else { return Node::Other };
        let [_, kind, key, ..] = items.as_slice() else { return Node::Other };
        match (&self.nodes[*kind], &self.nodes[*key]) {
            (Node::Global(kind), Node::Text(key)) if kind.len() <= MAX_NAME && key.len() <= MAX_NAME => {
                Node::Storage { key: key.clone(), kind: kind.rsplit('.').next().unwrap_or(kind).into() }
            }
            _ => Node::Other,
        }
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        let top = self.top()?;
        if let Node::List(list) = &mut self.nodes[top] {
            list.extend(items);
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), String> {
        let top = self.top()?;
        if let Node::Dict(dict) = &mut self.nodes[top] {
            dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        }
        Ok(())
    }

    fn replace_from(&mut self, start: usize) -> Result<(), String> {
        self.stack.truncate(start);
        self.push(Node::Other)
    }

    fn memorize(&mut self, slot: usize) -> Result<(), String> {
        let top = self.top()?;
        if slot >= MAX_NODES {
            return Err("too many memo slots".into());
        }
        if slot >= self.memo.len() {
            self.memo.resize(slot + 1, None);
        }
        self.memo[slot] = Some(top);
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Result<(), String> {
        let id = self.memo.get(slot).copied().flatten().ok_or("an empty memo slot")?;
        self.stack.push(id);
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<(), String> {
        if self.nodes.len() + self.copied >= MAX_NODES {
            return Err(format!("more than {MAX_NODES} objects"));
        }
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    /// Returns the stack's height without its topmost `count` values.
    ///
    /// # Errors
    /// Returns an error if one of these values is below the last mark, or the stack is too short.
    fn below(&self, count: usize) -> Result<usize, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack.len().checked_sub(count).filter(|start| *start >= floor).ok_or("the stack is empty".into())
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.below(1)?;
        self.stack.pop().ok_or("the stack is empty".into())
    }

    fn top(&self) -> Result<Id, String> {
        self.below(1).map(|start| self.stack[start])
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark))
    }

    fn long(&mut self, length: usize) -> Result<(), String> {
        let bytes = self.take(length)?;
        // Wider integers (the legacy format's magic number) are not needed.
        if bytes.len() > 8 {
            return self.push(Node::Other);
        }
        let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [sign; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let bytes = self.take(length)?;
        self.push(std::str::from_utf8(bytes).map_or(Node::Other, |text| Node::Text(text.into())))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.input[self.position..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("the pickle is cut off")?;
        self.position += end + 1;
        std::str::from_utf8(&rest[..end])
            .map(|line| line.trim_end_matches('\r'))
            .map_err(|_| "a name is no text".into())
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "the pickle is cut off".into())
    }

    fn skip(&mut self, length: usize) -> Result<(), String> {
        self.take(length).map(drop)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let bytes = self.input[self.position..].get(..length).ok_or("the pickle is cut off")?;
        self.position += length;
        Ok(bytes)
    }
}
