//! The folders of a guest: those that its plugin is granted, each file in them told of when it is opened.
//!
//! That nothing leads out of a folder, by `..` or by a link, is the work of wasmtime-wasi, which opens
//! every path beneath the folder that it is asked of.

use heddle_kernel::{Level, object::clip};
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystemView},
    p2::{
        FsResult,
        bindings::filesystem::{
            preopens,
            types::{DescriptorFlags, ErrorCode, Host as _, HostDescriptor, OpenFlags, PathFlags},
        },
    },
};

use super::FILES_TOLD;
use crate::sandbox::Sandbox;

/// The interface with the function that opens files, as wasmtime-wasi has it.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// That function.
const OPEN: &str = "[method]descriptor.open-at";

/// How much of a path is shown.
const SHOWN_LEN: usize = 400;

/// What opening takes: the folder, how links are followed, the path in it, and how it is opened.
type Asked = (
    Resource<Descriptor>,
    PathFlags,
    String,
    OpenFlags,
    DescriptorFlags,
);

impl preopens::Host for Sandbox {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        // Most guests' libraries ask at their start: what is told is the opening of files.
        self.uses(|used| &mut used.folders);
        if self.rules.grants.dirs.is_empty() {
            return Ok(Vec::new());
        }
        let folders = preopens::Host::get_directories(&mut self.filesystem())?;
        for (folder, at) in &folders {
            self.world.places.insert(folder.rep(), at.clone());
        }
        Ok(folders)
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    linker
        .instance(TYPES)?
        .func_wrap_async(OPEN, |mut store: StoreContextMut<'_, Sandbox>, asked: Asked| {
            Box::new(async move {
                let sandbox = store.data_mut();
                let opened = sandbox.open(asked).await;
                match opened {
                    Ok(opened) => Ok((Ok::<_, ErrorCode>(opened),)),
                    Err(error) => Ok((Err(sandbox.filesystem().convert_error_code(error)?),)),
                }
            })
        })
}

impl Sandbox {
    async fn open(&mut self, asked: Asked) -> FsResult<Resource<Descriptor>> {
        let (folder, follow, path, how, flags) = asked;
        let place = match self.world.places.get(&folder.rep()) {
            Some(at) => format!("{}/{path}", at.strip_suffix('/').unwrap_or(at)),
            None => path.clone(),
        };
        let writes = flags.intersects(DescriptorFlags::WRITE | DescriptorFlags::MUTATE_DIRECTORY)
            || how.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE);
        let opened = self.filesystem().open_at(folder, follow, path, how, flags).await;
        let to = if writes { "write" } else { "read" };
        let shown = clip(&place, SHOWN_LEN);
        match &opened {
            Ok(opened) => {
                self.tell(Level::Info, &format!("{shown} was opened to {to}"));
                self.world.places.insert(opened.rep(), place);
            }
            Err(error) => {
                let why = match error.downcast_ref() {
                    Some(ErrorCode::NoEntry) => "is not there",
                    Some(ErrorCode::ReadOnly | ErrorCode::NotPermitted | ErrorCode::Access) => {
                        "is not permitted"
                    }
                    _ => "failed",
                };
                self.tell(Level::Warn, &format!("{shown} was not opened to {to}: it {why}"));
            }
        }
        opened
    }

    /// Tells of a file, unless so many were told of that a guest may be flooding the log.
    fn tell(&mut self, level: Level, line: &str) {
        self.world.files += 1;
        match self.world.files {
            n if n <= FILES_TOLD => self.frame.output.note(level, line),
            n if n == FILES_TOLD + 1 => {
                let line = format!("this instance opened more than {FILES_TOLD} files: the rest is not told");
                self.frame.output.note(Level::Info, &line);
            }
            _ => {}
        }
    }
}
