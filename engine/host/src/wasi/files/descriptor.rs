//! The operations on a descriptor, each checked and counted.

use super::*;

impl HostDescriptor for Sandbox {
    async fn open_at(
        &mut self,
        folder: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        check_path(&path)?;
        let shown = self.path_of(&folder, &path);
        let writes = flags.intersects(DescriptorFlags::WRITE | DescriptorFlags::MUTATE_DIRECTORY)
            || how.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE);
        let to = if writes { "write" } else { "read" };
        let open = self.acquire_open_file().await.map_err(FsError::trap)?;
        let add_descriptor = match self.table.get(&folder)?.clone() {
            Descriptor::Dir(dir) => self
                .on_thread(move || open::open_beneath(&dir, follow, &path, how, flags))
                .await
                .map_err(FsError::trap)?,
            Descriptor::File(_) => Err(Refusal::Code(ErrorCode::NotDirectory)),
        };
        match add_descriptor {
            Ok(add_descriptor) => {
                self.log_file(Level::Info, &format!("{shown} was opened to {to}"));
                self.add_descriptor(add_descriptor, shown, open)
                    .await
                    .map_err(FsError::trap)
            }
            Err(refusal) => {
                self.log_refusal(&shown, to, &refusal);
                Err(refusal.code().into())
            }
        }
    }

    async fn set_times_at(
        &mut self,
        folder: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        check_path(&path)?;
        if !follow.contains(PathFlags::SYMLINK_FOLLOW) {
            return self
                .on_descriptor(folder, async move |mut view, folder| {
                    view.set_times_at(folder, follow, path, accessed, modified).await
                })
                .await;
        }
        // wasmtime-wasi would open the target and block on a pipe.
        let shown = self.path_of(&folder, &path);
        let Descriptor::Dir(dir) = self.table.get(&folder)?.clone() else {
            return Err(ErrorCode::NotDirectory.into());
        };
        if dir.perms.write_not_permitted() {
            return Err(ErrorCode::NotPermitted.into());
        }
        let add_descriptor = move || {
            let open = |flags| open::open_beneath(&dir, follow, &path, OpenFlags::empty(), flags);
            match open(DescriptorFlags::WRITE) {
                Err(Refusal::Code(ErrorCode::Access | ErrorCode::IsDirectory)) => open(DescriptorFlags::READ),
                add_descriptor => add_descriptor,
            }
        };
        match self.on_thread(add_descriptor).await.map_err(FsError::trap)? {
            Ok(add_descriptor) => {
                let set = move || {
                    run_alone(add_descriptor, async move |mut view, file| {
                        view.set_times(file, accessed, modified).await
                    })
                };
                self.on_thread(set).await.map_err(FsError::trap)?
            }
            Err(refusal) => {
                self.log_refusal(&shown, "write", &refusal);
                Err(refusal.code().into())
            }
        }
    }

    fn read_via_stream(
        &mut self,
        _: Resource<Descriptor>,
        _: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        Err(replaced())
    }

    fn write_via_stream(
        &mut self,
        _: Resource<Descriptor>,
        _: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        Err(replaced())
    }

    fn append_via_stream(&mut self, _: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        Err(replaced())
    }

    async fn read_directory(&mut self, folder: Resource<Descriptor>) -> FsResult<Resource<ReaddirIterator>> {
        let Descriptor::Dir(dir) = self.table.get(&folder)?.clone() else {
            return Err(ErrorCode::NotDirectory.into());
        };
        let open = self.acquire_open_file().await.map_err(FsError::trap)?;
        let charge = self.charge(LISTING_BYTES).await.map_err(FsError::trap)?;
        let begun = self.on_thread(move || Listing::begin(&dir)).await;
        let begun = begun.map_err(FsError::trap)??;
        let listing = Listing::new(begun, self.worker(), open, charge);
        let listing = self.table.push(listing)?;
        // wasmtime-wasi expects its own type here; only functions of this file use the handle.
        Ok(Resource::new_own(listing.rep()))
    }

    async fn advise(
        &mut self,
        file: Resource<Descriptor>,
        offset: Filesize,
        len: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.on_descriptor(file, async move |mut view, file| {
            view.advise(file, offset, len, advice).await
        })
        .await
    }

    async fn sync_data(&mut self, file: Resource<Descriptor>) -> FsResult<()> {
        self.on_descriptor(file, async |mut view, file| view.sync_data(file).await)
            .await
    }

    async fn sync(&mut self, file: Resource<Descriptor>) -> FsResult<()> {
        self.on_descriptor(file, async |mut view, file| view.sync(file).await)
            .await
    }

    async fn get_flags(&mut self, file: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.on_descriptor(file, async |mut view, file| view.get_flags(file).await)
            .await
    }

    async fn get_type(&mut self, file: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.on_descriptor(file, async |mut view, file| view.get_type(file).await)
            .await
    }

    async fn set_size(&mut self, file: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        self.on_descriptor(file, async move |mut view, file| view.set_size(file, size).await)
            .await
    }

    async fn set_times(
        &mut self,
        file: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.on_descriptor(file, async move |mut view, file| {
            view.set_times(file, accessed, modified).await
        })
        .await
    }

    async fn read(
        &mut self,
        file: Resource<Descriptor>,
        len: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.on_descriptor(file, async move |mut view, file| {
            view.read(file, len, offset).await
        })
        .await
    }

    async fn write(
        &mut self,
        file: Resource<Descriptor>,
        bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        self.on_descriptor(file, async move |mut view, file| {
            view.write(file, bytes, offset).await
        })
        .await
    }

    async fn stat(&mut self, file: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.on_descriptor(file, async |mut view, file| view.stat(file).await)
            .await
    }

    async fn stat_at(
        &mut self,
        folder: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        self.on_path(folder, path, async move |mut view, folder, path| {
            view.stat_at(folder, follow, path).await
        })
        .await
    }

    async fn create_directory_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.on_path(folder, path, async move |mut view, folder, path| {
            view.create_directory_at(folder, path).await
        })
        .await
    }

    async fn link_at(
        &mut self,
        folder: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
        new_folder: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        check_path(&path)?;
        check_path(&new_path)?;
        self.on_two_descriptors(folder, new_folder, async move |mut view, folder, new_folder| {
            view.link_at(folder, follow, path, new_folder, new_path).await
        })
        .await
    }

    async fn readlink_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.on_path(folder, path, async move |mut view, folder, path| {
            view.readlink_at(folder, path).await
        })
        .await
    }

    async fn remove_directory_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.on_path(folder, path, async move |mut view, folder, path| {
            view.remove_directory_at(folder, path).await
        })
        .await
    }

    async fn rename_at(
        &mut self,
        folder: Resource<Descriptor>,
        path: String,
        new_folder: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        check_path(&path)?;
        check_path(&new_path)?;
        self.on_two_descriptors(folder, new_folder, async move |mut view, folder, new_folder| {
            view.rename_at(folder, path, new_folder, new_path).await
        })
        .await
    }

    async fn symlink_at(
        &mut self,
        folder: Resource<Descriptor>,
        leads_to: String,
        path: String,
    ) -> FsResult<()> {
        check_path(&leads_to)?;
        check_path(&path)?;
        self.on_descriptor(folder, async move |mut view, folder| {
            view.symlink_at(folder, leads_to, path).await
        })
        .await
    }

    async fn unlink_file_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.on_path(folder, path, async move |mut view, folder, path| {
            view.unlink_file_at(folder, path).await
        })
        .await
    }

    async fn is_same_object(
        &mut self,
        one: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        let (one, other) = (self.table.get(&one)?.clone(), self.table.get(&other)?.clone());
        let same = self.on_thread(move || {
            run_alone(one, async move |mut view, one| {
                let other = view.table.push(other)?;
                view.is_same_object(one, other).await.map_err(FsError::trap)
            })
        });
        Ok(same.await??)
    }

    async fn metadata_hash(&mut self, file: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        self.on_descriptor(file, async |mut view, file| view.metadata_hash(file).await)
            .await
    }

    async fn metadata_hash_at(
        &mut self,
        folder: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.on_path(folder, path, async move |mut view, folder, path| {
            view.metadata_hash_at(folder, follow, path).await
        })
        .await
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> wasmtime::Result<()> {
        let worker = self.wasi_state.opened_paths.remove(&descriptor.rep());
        let closed = self.table.delete(descriptor)?;
        if let Some(OpenedPath { open, .. }) = worker {
            self.worker().close(open, closed);
        }
        Ok(())
    }
}

impl HostDirectoryEntryStream for Sandbox {
    async fn read_directory_entry(
        &mut self,
        entries: Resource<ReaddirIterator>,
    ) -> FsResult<Option<DirectoryEntry>> {
        let listing = || Resource::<Listing>::new_borrow(entries.rep());
        let known = self.table.get_mut(&listing())?;
        if let Some(entry) = known.next() {
            return Ok(Some(entry?));
        }
        let Some(rest) = known.take_rest() else {
            return Ok(None);
        };
        let read = self.on_thread(move || listing::read(rest)).await;
        let known = self.table.get_mut(&listing())?;
        known.put(read.map_err(FsError::trap)?);
        Ok(known.next().transpose()?)
    }

    fn drop(&mut self, entries: Resource<ReaddirIterator>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Listing>::new_own(entries.rep()))?;
        Ok(())
    }
}
