// The files of a choice or a drop, including those of folders.

import { isLikely } from './limits.js';

/** Most files that are taken at once, and most entries of folders that are looked at. */
export const MOST_FILES = 200;
const MOST_ENTRIES = 5000;
const DEEPEST = 8;

/**
 * Resolves to the files of a drop, and the number of files in folders that are left out: those that are no videos or
 * pictures. The list of a drop is empty once its event is over, so it is read at once.
 */
export async function droppedFiles(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === 'file');
  const taken = items.map((item) => ({ entry: item.webkitGetAsEntry?.() ?? null, file: item.getAsFile() }));
  const found = { files: [], others: 0, entries: 0 };
  for (const { entry, file } of taken) {
    if (entry?.isDirectory) await walk(entry, found, 0);
    else if (file) found.files.push(file);
  }
  return found;
}

/** Returns the files of a chosen folder as `droppedFiles` does. */
export function folderFiles(list) {
  const files = [...list].filter(isLikely);
  return { files, others: list.length - files.length };
}

async function walk(folder, found, depth) {
  const reader = folder.createReader();
  for (;;) {
    // A reader gives its entries in parts, and an empty part at the end.
    const part = await new Promise((resolve) => { reader.readEntries(resolve, () => resolve([])); });
    if (part.length === 0) return;
    for (const entry of part) {
      found.entries += 1;
      if (found.entries > MOST_ENTRIES) return;
      if (entry.isDirectory && depth < DEEPEST) await walk(entry, found, depth + 1);
      if (!entry.isFile) continue;
      const file = await new Promise((resolve) => { entry.file(resolve, () => resolve(null)); });
      if (file && isLikely(file)) found.files.push(file);
      else found.others += 1;
    }
  }
}
